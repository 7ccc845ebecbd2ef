import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ErrorCode } from '../../../src/errors.ts'
import { createCa, type CertificateFiles, type TestCa } from './certificates.ts'
import {
  counted,
  dial,
  openWorld,
  portOf,
  read,
  readAll,
  temporaryFolder,
  tidy,
  type ListenerInput,
  type World,
} from './world.ts'
import { tmpdir } from 'node:os'

type TlsInput = Extract<ListenerInput, { type: 'tls' }>['tls']

let folder: string
let ca: TestCa
let server: CertificateFiles

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnelmq-tls-'))
  ca = await createCa(folder)
  server = await ca.issue('server')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function dialTls(world: World, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({
    port: portOf(world),
    host: '127.0.0.1',
    servername: 'localhost',
    ca: await readFile(ca.cert),
    ...options,
  })
  tidy(socket)
  await once(socket, 'secureConnect')
  return socket
}

async function clientOptions(files: CertificateFiles): Promise<ConnectionOptions> {
  return { cert: await readFile(files.cert), key: await readFile(files.key) }
}

describe('a tls listener', () => {
  it('carries bytes and tells what was agreed on', async () => {
    const world = await openWorld({ type: 'tls', port: 0, tls: server })
    expect(world.listener.url).toBe(`mqtts://127.0.0.1:${portOf(world)}`)
    const client = await dialTls(world)
    client.write('hello')
    expect((await read(client, 5)).toString()).toBe('hello')
    const { peer } = world.connections[0]?.transport ?? {}
    expect(peer).toMatchObject({
      address: '127.0.0.1',
      port: client.localPort,
      transport: 'tls',
      tls: { version: 'TLSv1.3', cipher: client.getCipher().name, serverName: 'localhost' },
    })
    expect(peer).not.toHaveProperty('certificate')
  })

  it('delivers a megabyte each way, and ends with all of it sent', async () => {
    const block = Buffer.alloc(1_048_576, 'y')
    const world = await openWorld(
      { type: 'tls', port: 0, tls: server },
      {
        receive(seen) {
          if (seen.receivedBytes < block.length) return
          seen.transport.writev([block.subarray(0, 5), block.subarray(5)])
          seen.transport.end()
        },
      },
    )
    const client = await dialTls(world)
    client.write(block)
    expect((await readAll(client)).length).toBe(block.length)
    await world.until(() => world.connections[0]?.closedWith.length === 1)
    await counted(world, 0)
    expect(world.listener.connectionCount).toBe(0)
  })

  it('hands over a client certificate that its CA has signed', async () => {
    const alice = await ca.issue('alice', '/O=Acme, Inc./CN=alice', 'DNS:alice.test,URI:urn:device:7')
    const world = await openWorld({ type: 'tls', port: 0, tls: { ...server, clientCa: ca.cert } })
    const client = await dialTls(world, await clientOptions(alice))
    client.write('x')
    await read(client, 1)
    const { certificate } = world.connections[0]?.transport.peer ?? {}
    expect(certificate).toMatchObject({
      commonName: 'alice',
      subject: 'O=Acme\\, Inc., CN=alice',
      altNames: ['DNS:alice.test', 'URI:urn:device:7'],
      issuer: 'CN=ca',
    })
    expect(certificate?.pem.trim()).toBe((await readFile(alice.cert, 'utf8')).trim())
    expect(certificate?.fingerprint256).toMatch(/^(?:[0-9A-F]{2}:){31}[0-9A-F]{2}$/)
  })

  it('gives no common name where a subject has two', async () => {
    const two = await ca.issue('two', '/CN=alice/CN=root')
    const world = await openWorld({ type: 'tls', port: 0, tls: { ...server, clientCa: ca.cert } })
    const client = await dialTls(world, await clientOptions(two))
    client.write('x')
    await read(client, 1)
    expect(world.connections[0]?.transport.peer.certificate?.commonName).toBeUndefined()
  })

  it('refuses a client without a certificate, or with one of another CA, and says which', async () => {
    const stranger = await (await createCa(folder, 'other-ca')).issue('mallory')
    const world = await openWorld({ type: 'tls', port: 0, tls: { ...server, clientCa: ca.cert } })
    await readAll(await dialTls(world))
    await readAll(await dialTls(world, await clientOptions(stranger)))
    await world.until(() => world.refusals.length === 2)
    expect(world.connections).toEqual([])
    expect(world.refusals).toMatchObject([
      { reason: 'tls-handshake', address: '127.0.0.1', detail: expect.stringContaining('did not return') },
      { reason: 'tls-handshake', detail: 'client certificate: UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
    ])
    await counted(world, 0)
  })

  it('lets clients without a valid certificate in where none is required, and hands over no false one', async () => {
    const stranger = await (await createCa(folder, 'third-ca')).issue('eve')
    const world = await openWorld({
      type: 'tls',
      port: 0,
      tls: { ...server, clientCa: ca.cert, requireClientCertificate: false },
    })
    const client = await dialTls(world, await clientOptions(stranger))
    client.write('x')
    await read(client, 1)
    expect(world.connections[0]?.transport.peer.certificate).toBeUndefined()
  })

  it('refuses what is no TLS, and a handshake that takes too long, each once', async () => {
    const world = await openWorld(
      { type: 'tls', port: 0, tls: server },
      // So long that a busy machine has read by then what is no TLS.
      { bounds: { tlsHandshakeTimeoutMs: 500 } },
    )
    const plain = await dial(portOf(world))
    plain.write('\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00')
    await readAll(plain)
    const silent = await dial(portOf(world))
    await readAll(silent)
    await world.until(() => world.refusals.length === 2)
    expect(world.refusals).toMatchObject([
      // In words, without the addresses and source lines of OpenSSL's whole message.
      { reason: 'tls-handshake', detail: 'wrong version number' },
      { reason: 'tls-handshake-timeout' },
    ])
    await counted(world, 0)
  })

  it('says nothing of a health check that connects and closes', async () => {
    const world = await openWorld({ type: 'tls', port: 0, tls: server })
    const check = await dial(portOf(world))
    await counted(world, 1)
    check.end()
    await readAll(check)
    await counted(world, 0)
    await world.listener.close()
    expect(world.refusals).toEqual([])
  })

  it('names the file when a certificate cannot be read or does not go with the key', async () => {
    const other = await ca.issue('unrelated')
    await expect(
      openWorld({ type: 'tls', port: 0, tls: { cert: join(folder, 'none.crt'), key: server.key } }),
    ).rejects.toMatchObject({ code: ErrorCode.file, message: expect.stringContaining('none.crt') })
    await expect(
      openWorld({ type: 'tls', port: 0, tls: { cert: server.cert, key: other.key } }),
    ).rejects.toMatchObject({ code: ErrorCode.file, message: expect.stringContaining(server.cert) })
  })

  it('says which of the files is at fault, and how', async () => {
    const encrypted = join(folder, 'encrypted.key')
    const pem = createPrivateKey(await readFile(server.key))
    await writeFile(
      encrypted,
      pem.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'right' }),
    )
    const empty = join(folder, 'empty.pem')
    await writeFile(empty, '')
    const { cert, key } = server
    const messages: [TlsInput, string][] = [
      [{ cert: key, key: cert }, `${key}: is no certificate in PEM form`],
      [{ cert, key: cert }, `${cert}: is no private key in PEM form`],
      [{ cert, key: encrypted }, `${encrypted}: the key is encrypted, and there is no tls.passphrase`],
      [{ cert, key: encrypted, passphrase: 'wrong' }, 'tls.passphrase is wrong'],
      [{ cert, key, clientCa: empty }, `${empty}: is no certificate in PEM form`],
    ]
    for (const [tls, message] of messages) {
      await expect(openWorld({ type: 'tls', port: 0, tls })).rejects.toMatchObject({
        code: ErrorCode.file,
        message: expect.stringContaining(message),
      })
    }
    await openWorld({ type: 'tls', port: 0, tls: { cert, key: encrypted, passphrase: 'right' } })
  })

  it('does not renegotiate: it is work for us that any client could ask for without end', async () => {
    const world = await openWorld({ type: 'tls', port: 0, tls: server })
    const client = await dialTls(world, { maxVersion: 'TLSv1.2' })
    client.write('hello')
    await read(client, 5)
    const refusal = new Promise<Error | null>((resolve) => {
      client.renegotiate({ rejectUnauthorized: false }, resolve)
      client.once('error', resolve)
    })
    expect(await refusal).toMatchObject({ code: 'ERR_SSL_NO_RENEGOTIATION' })
  })
})

describe('certificates that change', () => {
  /** The name on the certificate that a new connection is shown. */
  async function certificateShown(world: World): Promise<{ name: string; endsAtMs: number }> {
    const client = await dialTls(world, { checkServerIdentity: () => undefined })
    const { subject, valid_to: end } = client.getPeerCertificate()
    client.destroy()
    return { name: String(subject.CN), endsAtMs: Date.parse(end) }
  }
  async function nameShown(world: World): Promise<string | undefined> {
    return (await certificateShown(world)).name
  }

  it('are shown to new connections after their files were replaced by renames, while old ones stay', async () => {
    const own = await temporaryFolder()
    const tls = { cert: join(own, 'tls.crt'), key: join(own, 'tls.key') }
    await copyFile(server.cert, tls.cert)
    await copyFile(server.key, tls.key)
    const world = await openWorld({ type: 'tls', port: 0, tls })
    const old = await dialTls(world)
    expect(await nameShown(world)).toBe('server')

    const renewed = await ca.issue('renewed')
    await copyFile(renewed.cert, `${tls.cert}.new`)
    await copyFile(renewed.key, `${tls.key}.new`)
    await rename(`${tls.cert}.new`, tls.cert)
    await rename(`${tls.key}.new`, tls.key)
    await expect.poll(() => nameShown(world)).toBe('renewed')
    old.write('still here')
    expect((await read(old, 10)).toString()).toBe('still here')
    expect(world.errors).toEqual([])
  })

  it('are found where Kubernetes swaps a symbolic link beside them', async () => {
    const own = await temporaryFolder()
    const renewed = await ca.issue('renewed-secret')
    for (const [version, files] of Object.entries({ v1: server, v2: renewed })) {
      await mkdir(join(own, version))
      await copyFile(files.cert, join(own, version, 'tls.crt'))
      await copyFile(files.key, join(own, version, 'tls.key'))
    }
    await symlink('v1', join(own, '..data'))
    await symlink('..data/tls.crt', join(own, 'tls.crt'))
    await symlink('..data/tls.key', join(own, 'tls.key'))
    const tls = { cert: join(own, 'tls.crt'), key: join(own, 'tls.key') }
    const world = await openWorld({ type: 'tls', port: 0, tls })
    expect(await nameShown(world)).toBe('server')
    await symlink('v2', join(own, '..data_tmp'))
    await rename(join(own, '..data_tmp'), join(own, '..data'))
    await expect.poll(() => nameShown(world)).toBe('renewed-secret')
  })

  it('that are bad are reported, and the old ones stay; a good pair later is used', async () => {
    const own = await temporaryFolder()
    const tls = { cert: join(own, 'tls.crt'), key: join(own, 'tls.key') }
    await copyFile(server.cert, tls.cert)
    await copyFile(server.key, tls.key)
    const world = await openWorld({ type: 'tls', port: 0, tls })
    await writeFile(tls.cert, 'not a certificate')
    await world.until(() => world.errors.length > 0)
    expect(world.errors).toMatchObject([{ code: ErrorCode.file, message: expect.stringContaining(tls.cert) }])
    await expect(world.listener.reloadCertificates()).rejects.toMatchObject({ code: ErrorCode.file })
    expect(await nameShown(world)).toBe('server')

    const renewed = await ca.issue('repaired', '/CN=repaired', 'DNS:localhost', 1)
    await copyFile(renewed.key, tls.key)
    await copyFile(renewed.cert, tls.cert)
    const endedAtMs = world.listener.certificateEndsAtMs ?? 0
    await world.listener.reloadCertificates()
    const shown = await certificateShown(world)
    expect(shown.name).toBe('repaired')
    expect(world.listener.certificateEndsAtMs).toBe(shown.endsAtMs)
    expect(shown.endsAtMs).toBeLessThan(endedAtMs)
  })
})
