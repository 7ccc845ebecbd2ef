import fc from 'fast-check'

export const PODS = 3
export const GROUP = 'g/jobs'
export const SHARED = { filter: '$share/g/jobs', matchFilter: 'jobs', shareGroup: 'g' }

const id = fc.constantFrom('a', 'b')
const pod = fc.nat({ max: PODS - 1 })
const qos = fc.constantFrom(1 as const, 2 as const)
const payload = fc.string({ maxLength: 12, unit: fc.constantFrom('x', 'y') })
/** Where the connection of the pod is cut during the step, if it writes. */
const cut = fc.option(fc.constantFrom('before' as const, 'after' as const), { freq: 8 })
const nth = fc.nat({ max: 5 })
export const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('claim'),
      pod,
      cut,
      id,
      clean: fc.nat({ max: 5 }),
      will: fc.option(payload),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('releaseClaim'), pod, cut, id }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('subscribe'),
      pod,
      cut,
      id,
      filter: fc.constantFrom('t', 't/1', SHARED.filter),
      qos,
    }),
  },
  fc.record({ op: fc.constant('unsubscribe'), pod, cut, id, filter: fc.constantFrom('t', 't/1') }),
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('publish'),
      pod,
      cut,
      payload,
      targets: fc.uniqueArray(fc.tuple(fc.constantFrom('a', 'b', GROUP), qos), {
        maxLength: 3,
        selector: ([name]) => name,
      }),
      retain: fc.option(fc.constantFrom('r', 'r/1')),
      incoming: fc.option(fc.tuple(id, fc.integer({ min: 1, max: 2 }))),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('acknowledge'), pod, cut, id, nth }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('release'), pod, cut, id, nth }) },
  fc.record({ op: fc.constant('releaseIncoming'), pod, cut, id, messageId: fc.integer({ min: 1, max: 2 }) }),
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('lease'), pod, cut, count: fc.integer({ min: 1, max: 3 }) }),
  },
  fc.record({ op: fc.constant('giveBack'), pod, cut, nth }),
  { weight: 2, arbitrary: fc.record({ op: fc.constant('acknowledgeLeased'), pod, cut, nth }) },
  fc.record({ op: fc.constant('publishWill'), pod, cut, id }),
  fc.record({ op: fc.constant('die'), pod }),
)
export type Step = typeof step extends fc.Arbitrary<infer T> ? T : never
export type Of<Name> = Step & { op: Name }

/** Word of the request that a step makes. */
export const words: Record<string, string> = {
  claim: 'claim',
  releaseClaim: 'release-claim',
  subscribe: 'subscriptions',
  unsubscribe: 'subscriptions',
  publish: 'publish',
  publishWill: 'publish',
  acknowledge: 'acknowledge',
  release: 'release',
  releaseIncoming: 'release-incoming',
  lease: 'lease',
  giveBack: 'give-back',
  acknowledgeLeased: 'acknowledge-leased',
}
