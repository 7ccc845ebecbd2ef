import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { createOpensslCa } from '../../support/openssl-ca.ts'
import { createTokenKey, signToken } from '../../support/tokens.ts'
import { eventOf, openBroker, portOf, temporaryFolder } from '../../support/broker-world.ts'
import { runClient } from '../../support/run-client.ts'

// The system's python, for which the Debian package python3-paho-mqtt is.
const PYTHON = '/usr/bin/python3'

/** Runs a script beside this file; resolves to what it printed. */
async function paho(script: string, ...args: (string | number)[]): Promise<unknown> {
  return pahoReads('', script, ...args)
}

async function pahoReads(input: string, script: string, ...args: (string | number)[]): Promise<unknown> {
  const file = fileURLToPath(new URL(script, import.meta.url))
  const { code, stdout, stderr } = await runClient(PYTHON, ['-B', file, ...args.map(String)], input)
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return JSON.parse(stdout)
}

describe('Python paho', () => {
  it.each([
    ['tcp', 31, 0],
    ['tcp', 31, 2],
    ['tcp', 311, 0],
    ['tcp', 311, 1],
    ['tcp', 311, 2],
    ['websockets', 311, 2],
  ])('exchanges messages: %s, MQTT %i, QoS %i', async (transport, protocol, qos) => {
    const broker = await openBroker({
      listeners: [
        { type: 'tcp', name: 'tcp', port: 0, allowAnonymous: true },
        { type: 'ws', name: 'websockets', port: 0, allowAnonymous: true },
      ],
    })
    const received = await paho('exchange.py', transport, portOf(broker, transport), protocol, qos, 100)
    expect(received).toEqual(Array.from({ length: 100 }, (_, i) => [`paho/${i % 3}`, `message ${i}`, qos]))
  })

  it.each([1, 2] as const)(
    'finds in its persistent session what came while it was away (QoS %i)',
    async (qos) => {
      const broker = await openBroker({ store: { type: 'embedded', path: await temporaryFolder() } })
      expect(await paho('session.py', broker.port, qos, 0)).toEqual({ present: 0, received: [] })
      for (let i = 0; i < 100; i++) await broker.publish({ topic: 'q/x', payload: String(i), qos })
      const expected = Array.from({ length: 100 }, (_, i) => ['q/x', String(i), qos])
      expect(await paho('session.py', broker.port, qos, 100)).toEqual({ present: 1, received: expected })
      await broker.publish({ topic: 'q/x', payload: 'last', qos })
      expect(await paho('session.py', broker.port, qos, 1)).toEqual({
        present: 1,
        received: [['q/x', 'last', qos]],
      })
    },
  )

  it('is let in by its certificate, by a token and by a key of the store, and refused without', async () => {
    const folder = await temporaryFolder()
    const ca = await createOpensslCa(folder, 'devices')
    const tls = await ca.issue('server', { extensions: ['subjectAltName = IP:127.0.0.1'] })
    const pi7 = await ca.issue('pi7')
    const revoked = await ca.issue('pi8')
    await ca.revoke(revoked.cert)
    const crl = await ca.crl(join(folder, 'list.crl'))
    const signer = createTokenKey('one')
    await writeFile(join(folder, 'signer.pem'), signer.pem)
    const broker = await openBroker({
      listeners: [
        {
          type: 'tls',
          name: 'tls',
          port: 0,
          tls: { ...tls, clientCa: ca.cert, requireClientCertificate: false },
        },
      ],
      handlers: [
        { type: 'certificate', revocation: { crl: { files: [crl] } } },
        {
          type: 'jwt',
          publicKeyFiles: [join(folder, 'signer.pem')],
          algorithms: ['ES256'],
          claims: { sub: '${username}' },
        },
        { type: 'dynamic' },
      ],
    })
    const { operations } = broker
    const identity = {
      name: 'sensor',
      description: '',
      isEnabled: true,
      clientId: null,
      groups: [],
      roles: [],
    }
    await operations.createIdentity(identity)
    const key = await operations.createIdentityKey('sensor', { description: '', expiresAt: null })
    const token = await signToken(signer.privateKey, { sub: 'alice' })
    const comes: [object, number][] = [
      [{ id: 'a', ...pi7 }, 0],
      [{ id: 'b', ...revoked }, 5],
      [{ id: 'c', username: 'alice', password: token }, 0],
      [{ id: 'd', username: 'bob', password: token }, 4],
      [{ id: 'e', username: 'sensor', password: key?.secret }, 0],
      [{ id: 'f', username: 'sensor', password: 'a guess' }, 4],
      [{ id: 'g' }, 5],
    ]
    const lines = comes.map(([came]) => JSON.stringify(came)).join('\n')
    expect(await pahoReads(`${lines}\n`, 'credentials.py', portOf(broker, 'tls'), ca.cert)).toEqual(
      comes.map(([, code]) => code),
    )
  })

  it('that speaks MQTT 5 is refused where that is not served, and the log says why', async () => {
    const broker = await openBroker({
      listeners: [{ type: 'tcp', port: 0, allowAnonymous: true, protocolVersions: ['3.1', '3.1.1'] }],
    })
    const { stdout } = await runClient(PYTHON, [
      '-B',
      fileURLToPath(new URL('refused.py', import.meta.url)),
      String(broker.port),
      '5',
    ])
    expect(stdout.trim()).toBe('132')
    expect(await eventOf(broker, 'connection refused')).toMatchObject({
      reason: 'protocol-version',
      detail: 'MQTT 5 is not served on this listener',
    })
  })

  it('that speaks 3.1 is told so where only 3.1.1 is served', async () => {
    const broker = await openBroker({
      listeners: [{ type: 'tcp', port: 0, allowAnonymous: true, protocolVersions: ['3.1.1'] }],
    })
    expect(await paho('refused.py', broker.port, 31)).toBe(1)
    expect(await paho('refused.py', broker.port, 311)).toBe(0)
  })
})
