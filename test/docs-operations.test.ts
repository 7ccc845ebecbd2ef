import { readFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { expect, it } from 'vitest'
import { connectAsync } from 'mqtt'
import { configSchema } from '../src/config/schema.ts'
import { AuthError, RefuseReason } from '../src/hooks/types.ts'
import { createLog } from '../src/log.ts'
import { startBroker } from '../src/main.ts'

const page = readFileSync(new URL('../docs/operations.md', import.meta.url), 'utf8')

/** The failregex as fail2ban applies it: `<ADDR>` is an IPv4 or IPv6 address. */
function failRegex(): RegExp {
  const written = /^failregex = (.+)$/m.exec(page)?.[1] ?? ''
  return new RegExp(written.replace('<ADDR>', '(?<address>[0-9a-fA-F.:]+)'))
}

it('has a fail2ban filter that finds the address of every refused client, whatever the client calls itself', async () => {
  const lines: string[] = []
  const broker = await startBroker({
    config: configSchema.parse({
      listeners: [{ type: 'tcp', port: 0 }],
      store: { type: 'memory' },
      admin: { enabled: false },
      shutdown: { drainMs: 0 },
    }),
    handlers: [
      {
        authConnect: () => {
          throw new AuthError('wrong password', RefuseReason.badCredentials)
        },
      },
    ],
    log: createLog(
      { level: 'info', format: 'json' },
      { write: (line: string) => void lines.push(line.trim()) },
    ),
  })
  const { port } = new URL(broker.listeners[0]!.url)
  try {
    const forged = 'x","address":"198.51.100.1","port":1,"listener":"a","reason":"bad-credentials'
    const options = { reconnectPeriod: 0, protocolVersion: 4 } as const
    for (const clientId of ['plain', forged]) {
      const attempt = connectAsync(`mqtt://127.0.0.1:${port}`, { ...options, clientId, username: 'alice' })
      await expect(attempt).rejects.toThrow('Connection refused')
    }
    // A refusal that is nobody's guess at a password.
    const socket = connectTcp(Number(port), '127.0.0.1')
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.end(Buffer.from([0xff, 0xff]))
    await closed
  } finally {
    await broker.stop()
  }
  const refused = lines.filter((line) => line.includes('"msg":"connection refused"'))
  expect(refused).toHaveLength(3)
  const found = lines.flatMap((line) => failRegex().exec(line)?.groups?.['address'] ?? [])
  expect(found).toEqual(['127.0.0.1', '127.0.0.1'])
})
