import { expect } from 'vitest'

/** Of `vi.waitFor`, whose own is a second; `expect.poll` has the same from vitest.config.ts. */
export const PATIENCE = { timeout: 20_000, interval: 20 } as const

/** As `expect.poll`, patient enough for a machine that is busy: what hangs is ended, and nothing is measured. */
export function eventually<T>(read: () => T | Promise<T>): ReturnType<typeof expect.poll> {
  return expect.poll(read, PATIENCE)
}
