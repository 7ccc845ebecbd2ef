import { defineConfig } from 'vitest/config'

/** Fault tests that take longer than a minute: `npm run test:faults`. */
export default defineConfig({
  test: {
    include: ['test/faults-long/**/*.test.ts'],
    pool: 'forks',
    // Three at once: most of a test is waiting. Beside the other tests, as in `.ci/run`, it is one.
    maxWorkers: 3,
    testTimeout: 300_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    expect: { poll: { timeout: 20_000, interval: 20 } },
    retry: 0,
    passWithNoTests: false,
    allowOnly: false,
  },
})
