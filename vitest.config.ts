import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // vitest.faults.config.ts has them.
    exclude: [...configDefaults.exclude, 'test/faults-long/**'],
    // A process for each file: the broker's sockets, signals and stores do not meet those of another test.
    pool: 'forks',
    // More than there are cores: a third of the time of these tests is waiting for others.
    maxWorkers: Math.ceil(availableParallelism() * 1.5),
    // Generous, for a machine with two busy cores: a time limit ends what hangs, and measures nothing.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    retry: 0,
    passWithNoTests: false,
    allowOnly: false,
  },
})
