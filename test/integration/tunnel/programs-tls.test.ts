import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../support/broker-world.ts'
import { startCli, type CliResult } from '../../support/run-cli.ts'
import { digest, echo, openTarget } from '../../support/tunnel-ends.ts'
import { openTunnelBroker, startAgent, type FaultBroker } from '../../support/tunnel-processes.ts'
import { createCa, type CertificateFiles } from '../listeners/certificates.ts'

interface TlsWorld {
  readonly url: string
  readonly ca: string
  /** Issued by the CA whose certificates the broker asks for. */
  readonly device: CertificateFiles
  readonly stranger: CertificateFiles
}

/** A broker that asks for a certificate of its CA, as its name `localhost`. */
async function openTlsBroker(type: 'tls' | 'wss'): Promise<TlsWorld> {
  const folder = await temporaryFolder()
  const ca = await createCa(folder)
  const devices = await createCa(folder, 'devices')
  const others = await createCa(folder, 'others')
  const { cert, key } = await ca.issue('broker', '/CN=broker', 'DNS:localhost')
  const broker = await openTunnelBroker({ listener: { type, tls: { cert, key, clientCa: devices.cert } } })
  return {
    url: `${type === 'tls' ? 'mqtts' : 'wss'}://localhost:${broker.port}`,
    ca: ca.cert,
    device: await devices.issue('pi7'),
    stranger: await others.issue('stranger'),
  }
}

const certificateFlags = ({ cert, key }: CertificateFiles): string[] => ['--cert', cert, '--key', key]

function connectWith(flags: FaultBroker['flags'], input: string, env = {}): Promise<CliResult> {
  const cli = startCli(['connect', 'pi7/echo', ...flags], { env })
  cli.process.stdin.end(input)
  return cli.ended
}

describe.each(['tls', 'wss'] as const)('over %s with a CA of its own', (type) => {
  it('carries streams of ends that have certificates, by flags and by variables', async () => {
    const { url, ca, device } = await openTlsBroker(type)
    const flags = ['--broker', url, '--ca', ca, ...certificateFlags(device)]
    await startAgent({ flags }, { echo: await openTarget(echo) })
    const text = 'through TLS '.repeat(100_000)
    const { code, stdout, stderr } = await connectWith(flags, text)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(digest(Buffer.from(stdout))).toBe(digest(Buffer.from(text)))

    const { cert, key } = device
    const env = { TUNNEL_BROKER: url, TUNNEL_CA: ca, TUNNEL_CERT: cert, TUNNEL_KEY: key }
    expect(await connectWith([], 'by variables', env)).toMatchObject({ code: 0, stdout: 'by variables' })
  })

  it('says what is wrong with a certificate, of either side', async () => {
    const { url, ca, device, stranger } = await openTlsBroker(type)
    const broker = ['--broker', url]
    const trusting = [...broker, '--ca', ca]
    const own = certificateFlags(device)
    const otherName = url.replace('localhost', '127.0.0.1')
    const results = [
      await connectWith([...broker, ...own], ''),
      await connectWith(['--broker', otherName, '--ca', ca, ...own], ''),
      await connectWith(trusting, ''),
      await connectWith([...trusting, ...certificateFlags(stranger)], ''),
    ]
    expect(results.map(({ code, stderr }) => [code, stderr])).toEqual([
      [9, expect.stringContaining('certificate is not trusted (unable to verify the first certificate)')],
      [9, expect.stringContaining("does not match certificate's altnames: IP: 127.0.0.1")],
      [10, expect.stringContaining('the broker refused the client certificate')],
      // Node's server says nothing of it.
      [9, expect.stringContaining('take the certificate of this client')],
    ])
  })

  it('takes the name that the certificate has with --servername, and any with --insecure, which warns', async () => {
    const { url, ca, device } = await openTlsBroker(type)
    const otherName = ['--broker', url.replace('localhost', '127.0.0.1'), ...certificateFlags(device)]
    await startAgent(
      { flags: [...otherName, '--ca', ca, '--servername', 'localhost'] },
      {
        echo: await openTarget(echo),
      },
    )
    const { code, stdout, stderr } = await connectWith([...otherName, '--insecure'], 'hello')
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'hello' })
    expect(stderr).toContain('insecure')
  })
})
