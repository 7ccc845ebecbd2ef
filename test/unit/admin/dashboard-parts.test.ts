import { describe, expect, it } from 'vitest'
import type { RoleRule } from '../../../src/admin/api/identity-resources.ts'
import type { Overview, RetainedMessage } from '../../../src/admin/api/resources.ts'

/** The pure parts of the dashboard, which is JavaScript of browsers: types are not built for the tests. */
async function part<Exports>(file: string): Promise<Exports> {
  return (await import(new URL(`../../../src/admin/dashboard/${file}`, import.meta.url).href)) as Exports
}

describe('facts as a person reads them', async () => {
  const { bytes, duration, rate, visible } = await part<{
    bytes: (value: number | null) => string
    duration: (seconds: number | null) => string
    rate: (value: number | null) => string
    visible: (text: string, most?: number) => string
  }>('format.js')

  it('rounds to what matters', () => {
    expect([0, 1023, 1024, 1536, 123_456_789].map(bytes)).toEqual([
      '0 B',
      '1023 B',
      '1 KiB',
      '1.5 KiB',
      '118 MiB',
    ])
    expect([0, 0.004, 0.25, 12.34, 1234.5, 12_345, 4e6].map(rate)).toEqual(
      ['0', '<0.01', '0.25', '12.3', '1,235', '12.3 k', '4 M'], // as in the comment of `rate`
    )
    expect([0, 59.9, 60, 3_601, 93_784, 172_800].map(duration)).toEqual([
      '0 s',
      '59 s',
      '1 min',
      '1 h',
      '1 d 2 h',
      '2 d',
    ])
    expect([bytes(null), duration(null), rate(null)]).toEqual(['–', '–', '–'])
  })

  it('shows characters that would hide or turn what follows', () => {
    expect(visible('evil\u202egnp.exe\u0000\n')).toBe(String.raw`evil\u202egnp.exe\u0000\u000a`)
    // A tag, and a letter that is empty: two client ids would look alike.
    expect(visible('a\u{e0041}b\u3164')).toBe(String.raw`a\u{e0041}b\u3164`)
    expect(visible('Köln ☕')).toBe('Köln ☕')
    expect(visible('x'.repeat(1_000), 3)).toBe('xxx… (1,000 characters)')
  })
})

describe('rates', async () => {
  const { sampleOf, createThroughput } = await part<{
    sampleOf: (before: object | undefined, after: object) => Record<string, number | null>
    createThroughput: (
      keyOf: (item: { id: string }) => string,
      bytesOf: (item: { bytes: number }) => number,
    ) => { look(items: readonly object[], atMs: number): void; of(item: { id: string }): number | null }
  }>('rates.js')

  const totals = { messagesReceived: 0, messagesSent: 0, messagesDropped: 0, bytesReceived: 0, bytesSent: 0 }
  const look = (pod: string, atMs: number, messagesReceived: number, browserMs: number): object => ({
    atMs: browserMs,
    overview: { pod, atMs, totals: { ...totals, messagesReceived } } as unknown as Overview,
  })

  it('go by the clock of the broker, and by ours where another pod answers', () => {
    const first = look('a', 1_000, 10, 50_000)
    expect(sampleOf(undefined, first)).toMatchObject({ messagesIn: null })
    expect(sampleOf(first, look('a', 3_000, 30, 55_000))).toMatchObject({ messagesIn: 10 })
    expect(sampleOf(first, look('b', 900_000, 30, 55_000))).toMatchObject({ messagesIn: 4 })
  })

  it('are not known when a counter went back', () => {
    expect(sampleOf(look('a', 1_000, 10, 0), look('a', 2_000, 3, 1_000))).toMatchObject({ messagesIn: null })
  })

  it('of streams are known from the second look on', () => {
    const throughput = createThroughput(
      ({ id }) => id,
      ({ bytes }) => bytes,
    )
    throughput.look([{ id: '1', bytes: 5 }], 1_000)
    expect(throughput.of({ id: '1' })).toBeNull()
    throughput.look(
      [
        { id: '1', bytes: 4_005 },
        { id: '2', bytes: 9 },
      ],
      3_000,
    )
    expect([throughput.of({ id: '1' }), throughput.of({ id: '2' })]).toEqual([2_000, null])
  })
})

describe('payloads', async () => {
  const { hexDump, prettyJson, preview, textOf } = await part<{
    hexDump: (data: Uint8Array) => string
    prettyJson: (text: string) => string | undefined
    preview: (base64: string) => string
    textOf: (data: Uint8Array) => string | undefined
  }>('payload.js')

  it('are text only where they are', () => {
    expect(textOf(Buffer.from('grüß\n'))).toBe('grüß\n')
    expect([Buffer.from([0xff]), Buffer.from('a\u0000')].map(textOf)).toEqual([undefined, undefined])
    expect(prettyJson('{"a":1}')).toBe('{\n  "a": 1\n}')
    expect(['12', '{a}', 'x'].map(prettyJson)).toEqual([undefined, undefined, undefined])
    expect(hexDump(Buffer.from('hello'))).toBe(`00000000  68 65 6c 6c 6f${' '.repeat(33)}  |hello|`)
  })

  it('have a preview, also where the beginning ends within a character', () => {
    expect(preview(Buffer.from('21.4 °C').toString('base64'))).toBe('21.4 °C')
    expect(preview(Buffer.from('☕'.repeat(100)).toString('base64'))).toBe('☕'.repeat(40))
    expect(preview(Buffer.from([0, 1, 0xfe]).toString('base64'))).toBe('00 01 fe')
  })
})

describe('the tree of topics', async () => {
  const { treeOf, rowsOf } = await part<{
    treeOf: (messages: readonly RetainedMessage[]) => object
    rowsOf: (
      tree: object,
      open: ReadonlySet<string>,
    ) => { path: string; name: string; level: number; below: number }[]
  }>('topic-tree.js')
  const tree = treeOf(
    ['a', 'a/b/c', 'a/b/d', '/x', 'long/way/down'].map((topic) => ({ topic }) as RetainedMessage),
  )
  const shown = (...open: string[]): string[] =>
    rowsOf(tree, new Set(open)).map(({ name, level, below }) => `${'.'.repeat(level)}${name} ${below}`)

  it('has a row for each message and each folder, and one for a chain without branches', () => {
    expect(shown()).toEqual(['a 3', 'a/ 3', '/x 1', 'long/way/down 1'])
    expect(shown('a')).toEqual(['a 3', 'a/ 3', '.b/ 2', '/x 1', 'long/way/down 1'])
    expect(shown('a', 'a/b')).toEqual(['a 3', 'a/ 3', '.b/ 2', '..c 1', '..d 1', '/x 1', 'long/way/down 1'])
  })
})

describe('how to connect', async () => {
  const { brokerUrl, recipesOf } = await part<{
    brokerUrl: (listeners: readonly { url: string }[], hostname: string) => string
    recipesOf: (agent: string, service: string, order?: number) => { text: string }[]
  }>('connect-guide.js')
  const texts = (agent: string, service: string, order?: number): string[] =>
    recipesOf(agent, service, order).map(({ text }) => text)

  it('is ssh, or a port, or standard input and output', () => {
    expect(texts('pi7', 'ssh')).toEqual([
      'tunnelmq ssh pi7',
      'Host *.tunnel\n  ProxyCommand tunnelmq connect %h/ssh',
      'scp FILE pi7.tunnel:',
      'tunnelmq forward 2222=pi7/ssh',
    ])
    expect(texts('pi7', 'ssh2', 1)).toContain(
      'Host pi7-ssh2.tunnel\n  ProxyCommand tunnelmq connect pi7/ssh2',
    )
    expect(texts('pi7', 'plc', 3)).toEqual(['tunnelmq forward 9003=pi7/plc', 'tunnelmq connect pi7/plc'])
    expect(texts('odd.tunnel', 'ssh')).toEqual(['tunnelmq forward 2222=odd.tunnel/ssh'])
  })

  it('is quoted for a shell', () => {
    expect(texts("a'; rm -rf", 'x')).toContain(String.raw`tunnelmq connect 'a'\''; rm -rf/x'`)
  })

  it('names the broker by the best listener, and the host of this page', () => {
    const listeners = [
      { url: 'mqtt://0.0.0.0:1883' },
      { url: 'ws://0.0.0.0:8083/mqtt' },
      { url: 'mqtts://0.0.0.0:8883' },
    ]
    expect(brokerUrl(listeners, 'broker.example.com')).toBe('mqtts://broker.example.com:8883')
    expect(brokerUrl(listeners.slice(0, 2), 'h')).toBe('mqtt://h:1883')
    expect(brokerUrl(listeners.slice(1, 2), 'h')).toBe('ws://h:8083/mqtt')
  })
})

describe('rules of a role', async () => {
  const { readNames, readRules, rulesText } = await part<{
    readNames: (text: string) => string[]
    readRules: (text: string) => RoleRule[]
    rulesText: (rules: readonly RoleRule[]) => string
  }>('identity-rules.js')

  it('are lines, which are read as they were written', () => {
    const text = 'deny publish,subscribe a b/%u/#\nallow open pi7/*'
    const rules = readRules(`\n  ${text.replace(' ', '   ')}  \n\n`)
    expect(rules).toEqual([
      { allow: false, actions: ['publish', 'subscribe'], on: 'a b/%u/#' },
      { allow: true, actions: ['open'], on: 'pi7/*' },
    ])
    expect(rulesText(rules)).toBe(text)
    expect(() => readRules('allow open pi7/*\nallow publish')).toThrow('Line 2 is not')
    expect(readNames(' a, b  c,')).toEqual(['a', 'b', 'c'])
  })
})
