import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createScramHandler, parseScramFile } from '../../../src/hooks/scram/handler.ts'
import { saslprep } from '../../../src/hooks/scram/saslprep.ts'
import { checkClientFinal, parseClientFirst, ScramFault } from '../../../src/hooks/scram/server.ts'
import { deriveKeys, formatStoredKeys, parseStoredKeys } from '../../../src/hooks/scram/stored-keys.ts'
import { AuthError, type AuthExchange, type Session } from '../../../src/hooks/types.ts'
import { temporaryFolder } from '../../support/broker-world.ts'
import { ScramClient } from '../../support/scram-client.ts'
import { fakeLog, fakeSession } from './fakes.ts'

/** RFC 7677, 3. */
const rfc = {
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  nonce: 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
}
const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
const pencil = await deriveKeys('pencil', { iterations: 4_096, salt })
const client = parseClientFirst(Buffer.from(rfc.clientFirst))
const said = { client, serverFirst: rfc.serverFirst, nonce: rfc.nonce }

describe('the exchange of RFC 7677', () => {
  it('is answered as it is written there', () => {
    expect(client).toMatchObject({ username: 'user', nonce: 'rOprNGfwEbeRWgbNEkqO' })
    expect(checkClientFinal(Buffer.from(rfc.clientFinal), said, pencil)?.toString()).toBe(rfc.serverFinal)
  })

  it('fails with another password, and with any other message', async () => {
    const other = await deriveKeys('pen', { iterations: 4_096, salt })
    expect(checkClientFinal(Buffer.from(rfc.clientFinal), said, other)).toBeUndefined()
    const wrongProof = rfc.clientFinal.replace('p=dH', 'p=dI')
    expect(checkClientFinal(Buffer.from(wrongProof), said, pencil)).toBeUndefined()
    const later = { ...said, serverFirst: rfc.serverFirst.replace('4096', '4097') }
    expect(checkClientFinal(Buffer.from(rfc.clientFinal), later, pencil)).toBeUndefined()
  })

  it.each([
    ['another nonce', rfc.clientFinal.replace('$k0,p', '$k1,p')],
    ['the nonce of the client alone', rfc.clientFinal.replace('%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0', '')],
    ['another channel binding', rfc.clientFinal.replace('biws', 'eSws')],
    ['no proof', rfc.clientFinal.slice(0, rfc.clientFinal.indexOf(',p='))],
    ['a proof that is too short', rfc.clientFinal.slice(0, -8)],
    ['a proof that is not base64', rfc.clientFinal.replace('p=dH', 'p=*!')],
    ['nothing', ''],
  ])('is no exchange with %s', (_, message) => {
    expect(() => checkClientFinal(Buffer.from(message), said, pencil)).toThrow(ScramFault)
  })
})

describe('the first message of a client', () => {
  it.each([
    ['y,,n=user,r=abc', { username: 'user', gs2Header: 'y,,' }],
    ['n,a=user,n=user,r=abc', { username: 'user', gs2Header: 'n,a=user,' }],
    ['n,,n=a=2Cb=3Dc,r=abc', { username: 'a,b=c' }],
    ['n,,n=user,r=abc,x=extension', { nonce: 'abc' }],
    ['n,,n=I\u00adX,r=abc', { username: 'IX' }],
  ])('%j is understood', (text, expected) => {
    expect(parseClientFirst(Buffer.from(text))).toMatchObject(expected)
  })

  it.each([
    ['p=tls-unique,,n=user,r=abc', 'channel binding is not offered'],
    ['n,a=root,n=user,r=abc', 'act for another user'],
    ['n,,m=must,n=user,r=abc', 'mandatory extension'],
    ['n,,n=user', 'no name and nonce'],
    ['n,,n=user,r=', 'no name and nonce'],
    ['n,,n=user,r=a\tb', 'no name and nonce'],
    ['n,,n=us=er,r=abc', '=2C or =3D'],
    ['n,,n=,r=abc', 'the name is empty'],
    ['n,,n=us\u0007er,r=abc', 'U+0007'],
    ['hello', 'GS2 header'],
    ['', 'GS2 header'],
    [`n,,n=${'u'.repeat(2_000)},r=abc`, 'more than 1024 bytes'],
    [Buffer.of(0x6e, 0x2c, 0x2c, 0xff), 'not UTF-8'],
  ])('%j is refused, and says why', (text, reason) => {
    expect(() => parseClientFirst(Buffer.from(text))).toThrow(reason)
  })
})

describe('saslprep', () => {
  it.each([
    // RFC 4013, 3.
    ['I\u00adX', 'IX'],
    ['user', 'user'],
    ['USER', 'USER'],
    ['\u00aa', 'a'],
    ['\u2168', 'IX'],
    ['a\u00a0b', 'a b'],
    ['pass\u200bword', 'pass word'],
    ['\u0627\u0628', '\u0627\u0628'],
  ])('makes %j %j', (text, expected) => {
    expect(saslprep(text)).toEqual({ text: expected })
  })

  it.each(['\u0007', '\u0627\u0031', 'a\u0627', '\ud800', '\ufffe', '\ue000', '\u{e0041}', '\ufffd'])(
    'refuses %j',
    (text) => expect(saslprep(text)).toHaveProperty('fault'),
  )
})

describe('a file for scram', () => {
  const line = `user:${formatStoredKeys(pencil)}`

  it('has names with their keys, as RFC 5803 writes them', () => {
    const { users } = parseScramFile(`# users\n\n${line}\r\n`, 'scram.txt')
    expect(users.get('user')?.keys).toEqual(pencil)
    expect(line).toMatch(/^user:SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$.{44}:.{44}$/)
  })

  it.each([
    ['user', 'not of the form'],
    ['user:$7$101$salt$hash', 'tunnelmq passwd --scram'],
    ['user:secret', 'tunnelmq passwd --scram'],
    [line.replace('4096', '4095'), 'at least 4096'],
    [line.replace('4096', '99999999'), 'at most 10000000'],
    [line.slice(0, -5), 'damaged'],
    [line.replace('user', 'us\u0007er'), 'U+0007'],
  ])('%j is a mistake with its line', (text, reason) => {
    const failure = (() => {
      try {
        parseScramFile(`#\n${text}`, 'scram.txt')
        return 'none'
      } catch (error) {
        return String(error)
      }
    })()
    expect(failure).toContain('scram.txt:2: ')
    expect(failure).toContain(reason)
    expect(failure).not.toContain('secret')
    expect(typeof parseStoredKeys('x')).toBe('string')
  })
})

describe('the handler scram', () => {
  async function open(content: string, secret?: string) {
    const folder = await temporaryFolder()
    const [file, secretFile] = [join(folder, 'scram.txt'), join(folder, 'secret')]
    await writeFile(file, content)
    if (secret !== undefined) await writeFile(secretFile, secret)
    const handler = await createScramHandler({
      file,
      log: fakeLog(),
      ...(secret !== undefined && { secretFile }),
    })
    onTestFinished(() => handler.close?.())
    const ask = (session: Session, exchange: AuthExchange, data: Buffer | undefined): string => {
      const answer = handler.authenticate!(session, exchange, data)
      if (typeof answer !== 'object' || !('continue' in answer)) throw new Error('no further round')
      return answer.continue.toString()
    }
    return { handler, ask, file, folder }
  }
  const exchange = (): AuthExchange => ({
    method: 'SCRAM-SHA-256',
    isReAuthentication: false,
    state: undefined,
  })
  const line = `user:${formatStoredKeys(pencil)}\n`
  const firstOf = (name: string): Buffer => new ScramClient(name, '').first
  const saltIn = (text: string): string => text.replace(/^r=[^,]+/, '')

  it('answers unknown users as known ones: a name has its salt, always the same', async () => {
    const one = await open(line, 'a secret of all brokers')
    const other = await open(`${line}other:${formatStoredKeys(pencil)}\n`, 'a secret of all brokers')
    const nobody = [one, one, other].map(({ ask }) =>
      saltIn(ask(fakeSession(), exchange(), firstOf('nobody'))),
    )
    expect(new Set(nobody).size).toBe(1)
    expect(nobody[0]).toMatch(/^,s=.{24},i=4096$/)
    expect(saltIn(one.ask(fakeSession(), exchange(), firstOf('no-one')))).not.toBe(nobody[0])
    // Without a secret of its own it comes from the file.
    const plain = await Promise.all([open(line), open(line), open(`${line}#`)])
    const made = plain.map(({ ask }) => saltIn(ask(fakeSession(), exchange(), firstOf('nobody'))))
    expect(made[0]).toBe(made[1])
    expect(made[0]).not.toBe(made[2])
  })

  it('refuses a secret that can be guessed', async () => {
    await expect(open(line, 'short')).rejects.toThrow('at least 16 bytes')
  })

  it.each(['nobody', 'user'])('says the same of a wrong password of %s', async (name) => {
    const { ask, handler } = await open(line)
    const [session, running, scram] = [fakeSession(), exchange(), new ScramClient(name, 'guess')]
    const challenge = ask(session, running, scram.first)
    const final = scram.final(Buffer.from(challenge))
    expect(() => handler.authenticate!(session, running, final)).toThrow(
      expect.objectContaining({ message: 'wrong password', reason: 'bad-credentials' }) as AuthError,
    )
  })

  it('takes no user name in CONNECT but the same', async () => {
    const { ask } = await open(line)
    expect(() => ask(fakeSession({ username: 'eve' }), exchange(), firstOf('user'))).toThrow('another one')
    const session = fakeSession({ username: 'user' })
    expect(ask(session, exchange(), firstOf('user'))).toContain('i=4096')
    expect(() => ask(session, exchange(), undefined)).toThrow(AuthError)
  })

  it('does not take the last message of another exchange', async () => {
    const { ask, handler } = await open(line)
    const [session, scram] = [fakeSession(), new ScramClient('user', 'pencil')]
    const [seen, replayed] = [exchange(), exchange()]
    const final = scram.final(Buffer.from(ask(session, seen, scram.first)))
    ask(session, replayed, scram.first)
    expect(() => handler.authenticate!(session, replayed, final)).toThrow('not that of this exchange')
    expect(handler.authenticate!(session, seen, final)).toEqual({ success: scram.expected })
  })
})
