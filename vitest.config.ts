import { configDefaults, defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // vitest.faults.config.ts has them.
    exclude: [...configDefaults.exclude, 'test/faults-long/**'],
    // A process for each file: the broker's sockets, signals and stores do not meet those of another test.
    pool: 'forks',
    // Also on two cores: most of a test is waiting.
    maxWorkers: '100%',
    // Generous, for a machine with two busy cores: a time limit ends what hangs, and measures nothing.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    retry: 0,
    passWithNoTests: false,
    allowOnly: false,
  },
})
