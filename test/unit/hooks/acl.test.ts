import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  compileRights,
  isDenied,
  mayPublish,
  maySubscribe,
  parseAcl,
  type AclDialect,
  type AclRights,
} from '../../../src/hooks/acl.ts'

function rights(
  text: string,
  client: { id?: string; username?: string; mountpoint?: string } = {},
  dialect: AclDialect = 'mosquitto',
): AclRights {
  return compileRights(parseAcl(text, { file: 'acl.txt', dialect }), {
    clientId: client.id ?? 'c1',
    username: client.username,
    mountpoint: client.mountpoint ?? '',
  })
}

describe('parseAcl', () => {
  it('reads the example of the mosquitto manual', () => {
    const acl = `
# This affects access control for clients with no username.
topic read $SYS/#

# This only affects clients with username "roger".
user roger
topic foo/bar
topic write to/broker
topic deny foo/bar/secret
topic read name with spaces/#

# This affects all clients.
pattern write $SYS/broker/connection/%c/state
`
    expect(rights(acl)).toEqual({
      read: ['$SYS/#'],
      write: ['$SYS/broker/connection/c1/state'],
      deny: [],
    })
    expect(rights(acl, { username: 'roger' })).toEqual({
      read: ['foo/bar', 'name with spaces/#'],
      write: ['foo/bar', 'to/broker', '$SYS/broker/connection/c1/state'],
      deny: ['foo/bar/secret'],
    })
  })

  it('reads a VerneMQ file: the first rules are for all, filters may have spaces, %m is the mountpoint', () => {
    const acl = 'topic read a/b/c\ntopic v/w x/y\nuser test\ntopic x/y/z/#\npattern read %m/%u/%c'
    expect(rights(acl, { username: 'test', mountpoint: 'site' }, 'vernemq')).toEqual({
      read: ['a/b/c', 'v/w x/y', 'x/y/z/#', 'site/test/c1'],
      write: ['v/w x/y', 'x/y/z/#'],
      deny: [],
    })
    expect(rights(acl, { username: 'test' }, 'vernemq').read).toContain('/test/c1')
    expect(rights(acl, { username: 'other' }, 'vernemq').read).toEqual(['a/b/c', 'v/w x/y', '/other/c1'])
  })

  it('bears tabs, several spaces, Windows line ends, a missing last line end, and a user named twice', () => {
    const acl = '\tuser  joe smith \r\n topic \t read   a b \r\nuser x\ntopic c\nuser joe smith\ntopic read d'
    expect(rights(acl, { username: 'joe smith' }).read).toEqual(['a b', 'd'])
  })

  it('takes an access word alone for a topic, as mosquitto does', () => {
    expect(rights('topic read').write).toEqual(['read'])
  })

  it('gives nothing for an empty file', () => {
    expect(rights('')).toEqual({ read: [], write: [], deny: [] })
  })

  it.each([
    ['topics a', 'unknown keyword "topics"'],
    ['topic', '`topic` without a filter'],
    ['pattern', '`pattern` without a filter'],
    ['user', '`user` without a name'],
    ['topic reed a', 'unknown access "reed"'],
    ['topic read a/#/b', "'#' not alone"],
    ['topic a+', "'+' not alone"],
    ['pattern read %c+/a', "'+' not alone"],
  ])('names file and line of %j', (line, message) => {
    expect(() => rights(`# comment\n\n${line}\ntopic read b`)).toThrow(`acl.txt:3: ${message}`)
  })
})

describe('compileRights', () => {
  it('gives the first rules of a mosquitto file to clients without a name only', () => {
    const acl = 'topic read public\nuser bob\ntopic read bobs'
    expect(rights(acl).read).toEqual(['public'])
    expect(rights(acl, { username: 'bob' }).read).toEqual(['bobs'])
    expect(rights(acl, { username: 'eve' }).read).toEqual([])
  })

  it('does not take names from Object.prototype for users', () => {
    expect(rights('user bob\ntopic #', { username: '__proto__' }).read).toEqual([])
    expect(rights('user __proto__\ntopic a', { username: '__proto__' }).read).toEqual(['a'])
  })

  it('leaves out a pattern with %u for a client without a name', () => {
    expect(rights('pattern read u/%u\npattern read c/%c').read).toEqual(['c/c1'])
  })

  it.each(['#', '+', 'a/b', '+/+', 'a#', 'x/../y'])(
    'gives a client named %j nothing from patterns, and still denies it what they deny (CVE-2017-7650)',
    (name) => {
      const acl = 'user u\ntopic read own\npattern readwrite dev/%c/#\npattern deny secret/%c'
      expect(rights(acl, { id: name, username: 'u' })).toEqual({
        read: ['own'],
        write: [],
        deny: [`secret/${name}`],
      })
      expect(rights('pattern readwrite dev/%u/#\npattern read all/#', { username: name }).read).toEqual([])
    },
  )

  it('does not let a name lead into a namespace that the rule has not named', () => {
    expect(rights('pattern readwrite %c/#\npattern read x/%c', { id: '$SYS' })).toEqual({
      read: ['x/$SYS'],
      write: [],
      deny: [],
    })
  })

  it('substitutes once: a name that looks like a placeholder or a replacement stays as it is', () => {
    expect(rights('pattern read %c/%u', { id: '%u', username: '$&' }).read).toEqual(['%u/$&'])
  })
})

describe('access', () => {
  it('asks that one rule covers a filter as a whole', () => {
    const client = rights('topic read a/+/c\ntopic read b/#\ntopic write a/x/w')
    for (const filter of ['a/x/c', 'a/+/c', 'b', 'b/#', 'b/+/x', 'b/c/#']) {
      expect(maySubscribe(client, filter), filter).toBe(true)
    }
    for (const filter of ['#', '+', 'a/#', 'a/+/+', '+/x/c', 'a/x/w', '$SYS/#', '+/#']) {
      expect(maySubscribe(client, filter), filter).toBe(false)
    }
  })

  it('reaches $SYS only by a rule that names it', () => {
    expect(maySubscribe(rights('topic read #'), '$SYS/#')).toBe(false)
    expect(maySubscribe(rights('topic read #'), '#')).toBe(true)
    expect(maySubscribe(rights('topic read $SYS/#'), '$SYS/broker/uptime')).toBe(true)
    expect(mayPublish(rights('topic #'), '$SYS/x')).toBe(false)
  })

  it('lets a denial win, wherever it stands', () => {
    for (const acl of [
      'topic deny a/b\ntopic a/#',
      'topic a/#\ntopic deny a/b',
      'pattern deny a/b\ntopic a/#',
    ]) {
      const client = rights(acl)
      expect(mayPublish(client, 'a/b')).toBe(false)
      expect(mayPublish(client, 'a/c')).toBe(true)
      expect(maySubscribe(client, 'a/b')).toBe(false)
      expect(maySubscribe(client, 'a/#')).toBe(true)
      expect(isDenied(client, 'a/b')).toBe(true)
      expect(isDenied(client, 'a/c')).toBe(false)
    }
  })
})

describe('access, against a slow twin that tries every topic', () => {
  const level = fc.constantFrom('a', 'b')
  const levels = ['a', 'b', '', '$SYS']
  /** Every topic of up to three levels. */
  const everyTopic = levels.flatMap((one) => [
    one,
    ...levels.flatMap((two) => [`${one}/${two}`, ...levels.map((three) => `${one}/${two}/${three}`)]),
  ])
  const filter = fc
    .tuple(
      fc.array(fc.oneof({ weight: 3, arbitrary: level }, { weight: 2, arbitrary: fc.constant('+') }), {
        minLength: 0,
        maxLength: 3,
      }),
      fc.boolean(),
      fc.boolean(),
    )
    .map(([path, system, hash]) => [...(system ? ['$SYS'] : []), ...path, ...(hash ? ['#'] : [])])
    .filter((path) => path.length > 0 && path.length <= 3)
    .map((path) => path.join('/'))
  const access = fc.constantFrom('read', 'write', 'readwrite', 'deny')
  const rules = fc.array(fc.tuple(access, filter), { maxLength: 6 })

  /** Written from the specification, as a regular expression: nothing in common with the code under test. */
  function matches(by: string, topic: string): boolean {
    if (topic.startsWith('$') && /^[+#]/.test(by)) return false
    const source = by
      .replace(/\$/g, '\\$')
      .replace(/\+/g, '[^/]*')
      .replace(/^#$/, '.*')
      .replace(/\/#$/, '(/.*)?')
    return new RegExp(`^${source}$`).test(topic)
  }

  it('publishes exactly what a write rule matches and no denial does', () => {
    fc.assert(
      fc.property(rules, fc.constantFrom(...everyTopic.filter(Boolean)), (list, topic) => {
        const some = (...kinds: string[]) =>
          list.some(([kind, by]) => kinds.includes(kind) && matches(by, topic))
        const acl = list.map(([kind, by]) => `topic ${kind} ${by}`).join('\n')
        expect(mayPublish(rights(acl), topic)).toBe(some('write', 'readwrite') && !some('deny'))
      }),
      { numRuns: 2_000 },
    )
  })

  it('delivers, through a subscription that it grants, no topic that no rule lets read', () => {
    fc.assert(
      fc.property(rules, filter, (list, wanted) => {
        const client = rights(list.map(([kind, by]) => `topic ${kind} ${by}`).join('\n'))
        fc.pre(maySubscribe(client, wanted))
        for (const topic of everyTopic) {
          if (!matches(wanted, topic) || isDenied(client, topic)) continue
          const readable = list.some(([kind, by]) => kind.startsWith('read') && matches(by, topic))
          const denied = list.some(([kind, by]) => kind === 'deny' && matches(by, topic))
          expect({ topic, readable, denied }).toEqual({ topic, readable: true, denied: false })
        }
      }),
      { numRuns: 2_000 },
    )
  })

  it('grants every filter that is the rule itself or narrower, when nothing is denied', () => {
    fc.assert(
      fc.property(filter, fc.array(level, { minLength: 3, maxLength: 3 }), (by, names) => {
        const narrower = by
          .split('/')
          .map((part, index) => (part === '+' ? (names[index] ?? part) : part))
          .join('/')
        const client = rights(`topic read ${by}`)
        expect(maySubscribe(client, by)).toBe(true)
        expect(maySubscribe(client, narrower)).toBe(true)
      }),
    )
  })
})
