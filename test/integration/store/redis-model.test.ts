import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RedisRun } from '../../support/redis-run.ts'
import { type RedisServer, startRedis } from '../../support/redis-server.ts'
import { step } from '../../support/redis-steps.ts'

let server: RedisServer
let cuts = 0

beforeAll(async () => {
  // A claim is given up after 2 s, and a busy disk may take longer: what is on it has no part in this.
  server = await startRedis({ args: ['--appendonly', 'no'] })
})

afterAll(() => server.remove())

describe('random histories of three pods on one Redis', () => {
  it('leave what one obvious model has, also when connections are cut before or after a write', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }), async (steps) => {
        const run = new RedisRun(server)
        await run.start()
        try {
          for (const next of steps) await run.do(next)
        } finally {
          await run.stop()
          cuts += run.cuts
        }
      }),
      // What hangs says in which history; to shrink it would take longer than the test may.
      { numRuns: Number(process.env['RUNS'] ?? 15), timeout: 60_000, endOnFailure: true },
    )
    expect(cuts).toBeGreaterThan(0)
  }, 240_000)
})
