import { describe, expect, it } from 'vitest'
import { compilePattern, matchName } from '../../../src/config/certificate-pattern.ts'
import { configSchema, type ConfigInput } from '../../../src/config/schema.ts'
import { checkMeaning } from '../../../src/config/semantics.ts'

function match(pattern: string, name: string): string | undefined {
  const compiled = compilePattern(pattern)
  if (typeof compiled === 'string') throw new Error(compiled)
  return matchName(compiled, name)
}

describe('patterns for names of certificates', () => {
  it('have to fit the whole name, and give their group if they have one', () => {
    expect(match('urn:dev:([0-9]+)', 'urn:dev:42')).toBe('42')
    expect(match('urn:dev:([0-9]+)', 'xurn:dev:42')).toBeUndefined()
    expect(match('urn:dev:([0-9]+)', 'urn:dev:42/root')).toBeUndefined()
    expect(match('(?:a|b)-.+', 'b-1')).toBe('b-1')
    expect(match('a(b)?', 'a')).toBeUndefined()
    expect(match('(?<id>.+)@example\\.com', 'pi7@example.com')).toBe('pi7')
    // Alternatives stay within the ends of the name.
    expect(match('a|b', 'bad')).toBeUndefined()
    expect(match('.*', 'x'.repeat(300))).toBeUndefined()
  })

  it.each([
    ['(a+)+', 'repeats a group'],
    ['(?:a|aa)*', 'repeats a group'],
    ['(a){2,}', 'repeats a group'],
    ['(.)\\1', 'back reference'],
    ['(?=a)a', 'look-ahead'],
    ['(?<!a)b', 'look-ahead or look-behind'],
    ['(a)(b)', 'more than one group'],
    ['.*.*.*.*x', 'more than 3 repetitions'],
    ['a|b|c|d|e|f|g|h|i|j', 'more than 8 choices'],
    ['[a-', 'is no regular expression'],
  ])('refuse %s', (pattern, fault) => {
    expect(compilePattern(pattern)).toContain(fault)
  })

  it('take what only looks like it', () => {
    expect(match('[(+)*]+\\(\\)\\+', '(+()+')).toBe('(+()+')
  })
})

type Handler = NonNullable<ConfigInput['handlers']>[number] & { type: 'certificate' }

function findings(
  handler: Omit<Handler, 'type'>,
  rest: ConfigInput = {},
  before: ConfigInput['handlers'] = [],
) {
  const config = configSchema.parse({
    listeners: [{ type: 'tls', port: 8883, tls: { cert: 'c', key: 'k', clientCa: 'ca' } }],
    handlers: [...before, { type: 'certificate', ...handler }],
    ...rest,
  })
  const { mistakes, warnings } = checkMeaning(config)
  const texts = (list: typeof mistakes) => list.map(({ path, message }) => `${path.join('.')} ${message}`)
  return { mistakes: texts(mistakes), warnings: texts(warnings) }
}

describe('the configuration of the certificate handler', () => {
  it('is right as it is by default', () => {
    expect(findings({})).toEqual({ mistakes: [], warnings: [] })
  })

  it.each([
    [{ username: 'ignore' }, 'handlers.0.username "ignore" lets every certificate take any username'],
    [{ identity: { pattern: '(a*)*' } }, 'handlers.0.identity.pattern repeats a group'],
    [{ proxyCertificateName: true, identity: { from: 'san' } }, 'handlers.0.proxyCertificateName needs'],
    [{ revocation: { crl: { distributionPoints: true } } }, 'needs revocation.allowedHosts'],
    [{ revocation: { ocsp: { mode: 'soft' } } }, 'needs ocsp.responder, or revocation.allowedHosts'],
  ] satisfies [Omit<Handler, 'type'>, string][])('finds the mistake in %j', (handler, message) => {
    expect(findings(handler).mistakes).toEqual([expect.stringContaining(message)])
  })

  it('warns where it can have no effect', () => {
    const listeners: ConfigInput['listeners'] = [{ type: 'tcp', port: 1883 }]
    expect(findings({}, { listeners }).warnings).toEqual([
      expect.stringContaining('never sees a certificate'),
    ])
    const open = findings({}, {}, [{ type: 'anonymous' }])
    expect(open.warnings).toEqual([expect.stringContaining('stands after "anonymous"')])
    const slow = findings({ revocation: { timeoutMs: 5_000, crl: { files: ['x'] } } })
    expect(slow.warnings).toEqual([expect.stringContaining('is not less than auth.timeoutMs (5000)')])
  })

  it('takes http URLs alone', () => {
    const parse = (responder: string) =>
      configSchema.safeParse({ handlers: [{ type: 'certificate', revocation: { ocsp: { responder } } }] })
    expect(parse('http://ocsp.example.com/').success).toBe(true)
    expect(parse('file:///etc/passwd').success).toBe(false)
  })
})
