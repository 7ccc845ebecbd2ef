import { expect, it } from 'vitest'
import { createSchemaTree, type SchemaNode } from '../../../src/config/schema-tree.ts'
import { agentSchema, clientSchema, endpointJsonSchema } from '../../../src/config/tunnel-endpoint-schema.ts'
import { withinTimer } from '../../../src/timer.ts'

/** setTimeout of Node: what is more fires at once. */
const NODE_MOST_MS = 2 ** 31 - 1
/** Sessions, messages and bans have an end that is shown as a date: JavaScript knows none after this one. */
const LAST_DATE_MS = 8_640_000_000_000_000

/** Times that are compared with a clock, again and again, so that no timer has to wait for all of them. */
const noTimers: Readonly<Record<string, string>> = {
  'handlers.allowMs': 'age of an answer in the cache, looked at when it is asked for',
  'handlers.denyMs': 'likewise',
  'handlers.maxMs': 'likewise',
  'handlers.keepMs': 'age of a key set, looked at with each token',
  'session.expiryMs': 'end of a session, which the sweep of the broker looks for',
  'session.messageExpiryMs': 'end of a message, likewise',
  'limits.banMs': 'end of a ban, looked at with each connection',
  'tunnel.idleTimeoutMs': 'the router looks at all streams every second',
  'tunnel.maxDurationMs': 'likewise',
}

interface Time {
  /** Section and key: `handlers.keepMs`. */
  readonly name: string
  readonly mostMs: number
}

function* timesOf(node: SchemaNode, path: readonly string[] = []): Generator<Time> {
  if (node.kind === 'object')
    for (const [key, inner] of node.properties) yield* timesOf(inner, [...path, key])
  else if (node.kind === 'variant') for (const inner of node.variants.values()) yield* timesOf(inner, path)
  else if (node.kind === 'list') yield* timesOf(node.items, path)
  else if (node.kind === 'free') yield* node.values === undefined ? [] : timesOf(node.values, path)
  else if (node.kind === 'integer') {
    const key = path.at(-1) ?? ''
    const unitMs = key.endsWith('Ms') ? 1 : key.endsWith('Seconds') ? 1_000 : undefined
    // Those of a listener's own handlers are those of handlers.
    const section = path.includes('handlers') ? 'handlers' : path[0]
    if (unitMs === undefined) return
    const name = path.length > 1 ? `${section}.${key}` : key
    yield { name, mostMs: unitMs * (node.maximum ?? Infinity) }
  }
}

it('no time can be configured that is longer than a timer waits, and would be over at once', () => {
  const trees = [undefined, endpointJsonSchema(agentSchema), endpointJsonSchema(clientSchema)]
  const times = trees.flatMap((schema) => [...timesOf(createSchemaTree(schema))])
  expect(times.length).toBeGreaterThan(50)
  const tooLong = times.filter(({ mostMs }) => mostMs > NODE_MOST_MS)
  // Give a new one timerMs() of duration-schema.ts; or spanMs(), and a reason above.
  expect(new Set(tooLong.map(({ name }) => name))).toEqual(new Set(Object.keys(noTimers)))
  expect(tooLong.filter(({ mostMs }) => Date.now() + mostMs > LAST_DATE_MS)).toEqual([])
  expect(withinTimer(Infinity)).toBeLessThan(NODE_MOST_MS)
})
