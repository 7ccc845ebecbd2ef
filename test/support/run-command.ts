import { Command } from 'commander'
import { vi } from 'vitest'

export interface CommandResult {
  /** As `tunnelmq` would set it by itself. */
  readonly exitCode: number
  readonly stdout: Buffer
  readonly stderr: string
  /** What the command rejected with. */
  readonly error: Error | undefined
}

/** Runs one command within this process, many times faster than a process for each. One at a time. */
export async function runCommand(command: Command, words: readonly string[]): Promise<CommandResult> {
  const parts: Buffer[] = []
  let stderr = ''
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    parts.push(Buffer.from(chunk))
    return true
  })
  const err = vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    stderr += Buffer.from(chunk).toString()
    return true
  })
  const before = process.exitCode
  process.exitCode = 0
  let error: Error | undefined
  try {
    const program = new Command('tunnelmq').enablePositionalOptions().exitOverride().addCommand(command)
    command.copyInheritedSettings(program)
    await program.parseAsync(['node', 'tunnelmq', command.name(), ...words])
  } catch (thrown) {
    error = thrown as Error
  } finally {
    out.mockRestore()
    err.mockRestore()
  }
  const exitCode = process.exitCode
  process.exitCode = before
  return { exitCode, stdout: Buffer.concat(parts), stderr, error }
}
