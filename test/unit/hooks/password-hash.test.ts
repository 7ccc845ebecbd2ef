import { describe, expect, it } from 'vitest'
import { decoyOf, hashPassword, parsePasswordHash, verifyPassword } from '../../../src/hooks/password-hash.ts'

// Made by mosquitto_passwd 2.0.11 (passwords: secret, hunter2).
const mosquitto7 =
  '$7$101$w3CX1iJ3IizAUGHQ$OVnH5nyed1Ty0MFSTOCdhtYrXtrb2+0kqbbu7JpCy/HZS2vDkcFZ7JsA3pUOD9OvHzWJNgqC8lb4G+4tl04VDQ=='
const mosquitto6 =
  '$6$Vbws9sraXX9GrD9V$0YnNznUYvjafEX38hepKUrSpKM6mhZ7jZEp6vDttdDVTOHCaU0K4Tta4IgiR7GdBoeJbElTeMKPA2TMejjTfnA=='

async function matches(stored: string, password: string): Promise<boolean> {
  const hash = parsePasswordHash(stored)
  if (typeof hash === 'string') throw new Error(hash)
  return verifyPassword(hash, Buffer.from(password))
}

describe('password hashes', () => {
  it.each([
    [mosquitto7, 'secret'],
    [mosquitto6, 'hunter2'],
  ])('reads %s', async (stored, password) => {
    expect(await matches(stored, password)).toBe(true)
    expect(await matches(stored, `${password} `)).toBe(false)
    expect(await matches(stored, '')).toBe(false)
  })

  it('reads back what it makes, with a new salt each time', async () => {
    const stored = await hashPassword(Buffer.from('pä$$:wörd'))
    expect(stored).toMatch(/^\$scrypt\$ln=14,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
    expect(await matches(stored, 'pä$$:wörd')).toBe(true)
    expect(await matches(stored, 'pa$$:word')).toBe(false)
    expect(await hashPassword(Buffer.from('pä$$:wörd'))).not.toBe(stored)
  })

  it('knows a scrypt hash of another tool', async () => {
    // RFC 7914, 12: scrypt("password", "NaCl", N=1024, r=8, p=16, 64)
    const digest = Buffer.from(
      'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640',
      'hex',
    ).toString('base64')
    expect(await matches(`$scrypt$ln=10,r=8,p=16$TmFDbA$${digest.replace(/=/g, '')}`, 'password')).toBe(true)
  })

  it.each([
    ['secret', /not hashed/],
    ['', /not hashed/],
    ['$1$salt$hash', /unknown kind/],
    ['$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA', /argon2/],
    ['$6$salt', /form/],
    ['$6$$aGFzaA==', /damaged/],
    ['$6$c2FsdA==$aGFzaA==', /damaged/],
    ['$7$0$c2FsdA==$aGFzaA==', /damaged/],
    [mosquitto7.replace('$101$', '$99999999$'), /iterations/],
    [mosquitto7.replace('$101$', '$-1$'), /damaged/],
    ['$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA', /MiB/],
    ['$scrypt$ln=10,r=8,p=99$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA', /p > 16/],
    ['$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$aGE', /damaged/],
    ['$scrypt$ln=10$c2FsdHNhbHQ$aGFzaGhhc2g', /form/],
  ])('says what is wrong with %j', (stored, fault) => {
    expect(parsePasswordHash(stored)).toMatch(fault)
  })

  it('makes a decoy of the same cost that no password opens', async () => {
    const hash = parsePasswordHash(mosquitto7)
    if (typeof hash === 'string') throw new Error(hash)
    const decoy = decoyOf(hash)
    expect(decoy).toMatchObject({ scheme: 'pbkdf2-sha512', iterations: 101, salt: hash.salt })
    expect(await verifyPassword(decoy, Buffer.from('secret'))).toBe(false)
  })
})
