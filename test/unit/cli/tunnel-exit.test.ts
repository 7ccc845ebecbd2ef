import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { CommandFailure, TunnelExit, withTunnelExit } from '../../../src/cli/tunnel-exit.ts'
import { ErrorCode, TunnelMQError } from '../../../src/errors.ts'
import { ResetCode } from '../../../src/tunnel/protocol/reset-code.ts'
import { TunnelError } from '../../../src/tunnel/tunnel-error.ts'

async function exitOf(error: unknown): Promise<number | undefined> {
  try {
    await withTunnelExit(async () => {
      throw error
    })
  } catch (failure) {
    return failure instanceof CommandFailure ? failure.exitCode : undefined
  }
  return undefined
}

it('has a line in docs/tunnels.md for each exit code, and no other', () => {
  const page = readFileSync(new URL('../../../docs/tunnels.md', import.meta.url), 'utf8')
  const section = /## Exit codes\n([\s\S]*?)\n## /.exec(page)?.[1] ?? ''
  const documented = [...section.matchAll(/^\| (\d+) +\|/gm)].map((match) => Number(match[1]))
  expect(documented).toEqual(Object.values(TunnelExit))
})

describe('the exit code', () => {
  it.each([
    [ErrorCode.config, TunnelExit.usage],
    [ErrorCode.usage, TunnelExit.usage],
    [ErrorCode.file, TunnelExit.usage],
    [ErrorCode.unreachable, TunnelExit.brokerUnreachable],
    [ErrorCode.credentials, TunnelExit.badCredentials],
    [ErrorCode.listen, TunnelExit.portInUse],
    [ErrorCode.protocol, TunnelExit.failed],
  ])('of %s is %i', async (code, exit) => {
    expect(await exitOf(new TunnelMQError(code, 'x'))).toBe(exit)
  })

  it.each([
    ['refused', TunnelExit.targetRefused],
    ['unreachable', TunnelExit.targetUnreachable],
    ['timeout', TunnelExit.targetUnreachable],
    ['unknownService', TunnelExit.unknownService],
    ['forbidden', TunnelExit.forbidden],
    ['revoked', TunnelExit.forbidden],
    ['agentOffline', TunnelExit.agentOffline],
    ['idle', TunnelExit.failed],
    ['internal', TunnelExit.failed],
  ] as const)('of a stream with RESET %s is %i', async (name, exit) => {
    expect(await exitOf(new TunnelError(ResetCode[name], 'x'))).toBe(exit)
  })

  it('tells an agent that was never there from one that is away', async () => {
    const error = new TunnelError(ResetCode.agentOffline, 'x', { isUnknownAgent: true })
    expect(await exitOf(error)).toBe(TunnelExit.noSuchAgent)
  })

  it('of anything else is 1', async () => {
    expect(await exitOf(new TypeError('x'))).toBe(TunnelExit.failed)
    expect(await exitOf('x')).toBe(TunnelExit.failed)
  })

  it('is kept where a command has chosen it', async () => {
    expect(await exitOf(new CommandFailure(TunnelExit.forbidden, 'x'))).toBe(TunnelExit.forbidden)
  })
})
