import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Role, RoleRule } from '../../../src/identities/records.ts'
import {
  compileRights,
  decidingPublish,
  decidingSubscribe,
  decidingTunnel,
  mayDeliver,
  ruleFault,
  type Rights,
} from '../../../src/identities/rules.ts'

const role = (...rules: RoleRule[]): Role => ({ name: 'r', description: '', rules })
const allow = (on: string, ...actions: RoleRule['actions']): RoleRule => ({ allow: true, actions, on })
const deny = (on: string, ...actions: RoleRule['actions']): RoleRule => ({ allow: false, actions, on })
const rightsOf = (rules: readonly RoleRule[], clientId = 'c1', username = 'u1'): Rights =>
  compileRights([role(...rules)], { clientId, username })

const mayPublish = (rights: Rights, topic: string) => decidingPublish(rights, topic)?.rule.allow === true
const maySubscribe = (rights: Rights, filter: string) =>
  decidingSubscribe(rights, filter)?.rule.allow === true
const mayOpen = (rights: Rights, agent: string, service: string) =>
  decidingTunnel(rights, { action: 'open', agent, service })?.rule.allow === true

describe('the rules of roles', () => {
  it('take the first rule that fits, over all roles in their order', () => {
    const roles = [role(deny('a/secret', 'publish'), allow('a/#', 'publish')), role(allow('#', 'publish'))]
    const rights = compileRights(roles, { clientId: 'c', username: 'u' })
    expect(mayPublish(rights, 'a/secret')).toBe(false)
    expect(mayPublish(rights, 'a/b')).toBe(true)
    expect(mayPublish(rights, 'b')).toBe(true)
    expect(mayPublish(rights, '$SYS/x')).toBe(false)
    expect(maySubscribe(rights, 'a/b')).toBe(false)
  })

  it('put in client id and user name, and give nothing to a name that could mean more', () => {
    const rules = [allow('d/%c/#', 'publish', 'subscribe'), allow('u-%u/x', 'publish')]
    expect(mayPublish(rightsOf(rules), 'd/c1/t')).toBe(true)
    expect(mayPublish(rightsOf(rules), 'u-u1/x')).toBe(true)
    for (const name of ['#', '+', 'a/b', '+/c']) {
      expect(mayPublish(rightsOf(rules, name), 'd/c1/t')).toBe(false)
      expect(maySubscribe(rightsOf(rules, name), `d/${name}/#`)).toBe(false)
      expect(mayPublish(rightsOf(rules, name), 'u-u1/x')).toBe(true)
      expect(mayPublish(rightsOf(rules, 'c1', name), `u-${name}/x`)).toBe(false)
    }
    // What is denied stays denied.
    const denied = [deny('d/%c', 'publish'), allow('#', 'publish')]
    expect(mayPublish(rightsOf(denied, '+'), 'd/c1')).toBe(false)
  })

  it('do not let a name into a namespace that the rule has not named', () => {
    expect(maySubscribe(rightsOf([allow('%c/#', 'subscribe')], '$SYS'), '$SYS/#')).toBe(false)
    expect(maySubscribe(rightsOf([allow('$SYS/%c/#', 'subscribe')]), '$SYS/c1/#')).toBe(true)
  })

  it('of tunnels are about agent and service, and a client named * is no wildcard', () => {
    const rights = rightsOf([deny('pi7/ssh', 'open'), allow('pi7/*', 'open'), allow('*/web', 'open')])
    expect([mayOpen(rights, 'pi7', 'ssh'), mayOpen(rights, 'pi7', 'db')]).toEqual([false, true])
    expect([mayOpen(rights, 'pi8', 'web'), mayOpen(rights, 'pi8', 'ssh')]).toEqual([true, false])
    const own = rightsOf([allow('%c/*', 'serve', 'open')], '*')
    expect(mayOpen(own, 'pi7', 'ssh')).toBe(false)
    expect(decidingTunnel(own, { action: 'serve', agent: 'pi7', service: '+' })).toBeUndefined()
    const pi7 = rightsOf([allow('%c/*', 'serve')], 'pi7')
    expect(decidingTunnel(pi7, { action: 'serve', agent: 'pi7', service: '+' })?.rule.allow).toBe(true)
  })

  it.each([
    [['publish', 'open'], 'a/b', 'topics and tunnels at once'],
    [['publish', 'publish'], 'a', 'twice'],
    [['subscribe'], 'a/#/b', "'#' not alone"],
    [['open'], 'pi7', '<agent>/<service>'],
    [['open'], 'a/b/c', '<agent>/<service>'],
    [['open'], '+/ssh', 'mean nothing here'],
    [['open'], 'pi*/ssh', '* stands alone'],
    [['serve'], 'pi7/ssh', 'serves as a whole'],
  ] as const)('say what is wrong with %j on %s', (actions, on, text) => {
    expect(ruleFault({ actions, on })).toContain(text)
  })

  it('decide as a naive model does, which knows of topics only what each filter matches', () => {
    fc.assert(
      fc.property(fc.array(ruleOf, { maxLength: 5 }), filterOf, (rules, filter) => {
        const rights = rightsOf(rules)
        const matched = topics.filter((topic) => naiveMatch(filter, topic))
        for (const topic of topics) {
          const first = rules.find(({ on, actions }) => actions.includes('publish') && naiveMatch(on, topic))
          expect(mayPublish(rights, topic)).toBe(first?.allow === true)
        }
        const covering = rules.find(
          ({ on, actions }) =>
            actions.includes('subscribe') && matched.every((topic) => naiveMatch(on, topic)),
        )
        expect(maySubscribe(rights, filter)).toBe(covering?.allow === true)
        if (covering?.allow !== true) return
        for (const topic of matched) {
          const first = rules.find(
            ({ on, actions }) => actions.includes('subscribe') && naiveMatch(on, topic),
          )
          const isDelivered = !rights.deniesDeliveries || mayDeliver(rights, topic)
          expect(isDelivered).toBe(first?.allow === true)
        }
      }),
      { numRuns: 500 },
    )
  })
})

/** Enough levels, and a level that no filter names: what covers a filter here covers it anywhere. */
const levels = ['a', 'b', 'z']
const topics = [1, 2, 3, 4].flatMap((count) =>
  Array.from({ length: count }).reduce<string[]>(
    (made) => made.flatMap((start) => levels.map((level) => (start === '' ? level : `${start}/${level}`))),
    [''],
  ),
)

function naiveMatch(filter: string, topic: string): boolean {
  const pattern = filter.replace(/^#$/, '.*').replace(/\/#$/, '(/.*)?').replaceAll('+', '[^/]*')
  return new RegExp(`^${pattern}$`).test(topic)
}

const filterOf = fc
  .tuple(fc.array(fc.constantFrom('a', 'b', '+'), { maxLength: 3 }), fc.boolean())
  .map(([parts, isOpen]) => [...parts, ...(isOpen || parts.length === 0 ? ['#'] : [])].join('/'))
const ruleOf = fc.record({
  allow: fc.boolean(),
  actions: fc.constantFrom<RoleRule['actions']>(['publish'], ['subscribe'], ['publish', 'subscribe']),
  on: filterOf,
})
