import { expect } from 'vitest'

/** As `expect.poll`, patient enough for a machine that is busy: what hangs is ended, and nothing is measured. */
export function eventually<T>(read: () => T | Promise<T>): ReturnType<typeof expect.poll> {
  return expect.poll(read, { timeout: 15_000, interval: 20 })
}
