import { vi } from 'vitest'
import { storeCommand } from '../../src/cli/store.ts'

/** What `tunnelmq store` prints, run in this process; `progress` is taken from the terminal and thrown away. */
export async function runStore(...args: string[]): Promise<string> {
  let printed = ''
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text)
    return true
  })
  const err = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  try {
    const command = storeCommand({}).exitOverride()
    for (const inner of command.commands) inner.exitOverride()
    await command.parseAsync(args, { from: 'user' })
  } finally {
    out.mockRestore()
    err.mockRestore()
  }
  return printed
}

/** As JSON. */
export async function askStore<T = Record<string, number>>(...args: string[]): Promise<T> {
  return JSON.parse(await runStore(...args, '--json')) as T
}
