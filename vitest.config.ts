import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'

/** Without processes, servers and files of others. */
const units = ['test/unit/**/*.test.ts']
/** Brokers and servers in the process of the test; what is loaded for them is most of the time of a file. */
const integration = ['integration', 'defects', 'conformance'].map((folder) => `test/${folder}/**/*.test.ts`)
/** They need helm, for which `.ci/run` waits last. */
const chart = ['test/deploy/helm*.test.ts']

export default defineConfig({
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'whole',
          include: ['test/**/*.test.ts'],
          // vitest.faults.config.ts has the long ones.
          exclude: [...configDefaults.exclude, 'test/faults-long/**', ...units, ...integration, ...chart],
          // Fault tests carry much, and wait for what is dead: on a slow machine for minutes.
          testTimeout: 300_000,
        },
      },
      { extends: true, test: { name: 'integration', include: integration, isolate: false } },
      { extends: true, test: { name: 'chart', include: chart } },
      // Files of one process one after the other: what they import is loaded once.
      { extends: true, test: { name: 'units', include: units, isolate: false } },
    ],
    // A process for each file, but where it says otherwise: sockets, signals and stores do not meet those of another test.
    pool: 'forks',
    // More than there are cores: half of the time of these tests is waiting for others.
    maxWorkers: availableParallelism() * 2,
    // Generous, for a machine with two busy cores: a time limit ends what hangs, and measures nothing.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    teardownTimeout: 10_000,
    // Shorter than that of the test, so that what is waited for in vain says what it is. Its own is a second.
    expect: { poll: { timeout: 20_000, interval: 20 } },
    retry: 0,
    passWithNoTests: false,
    allowOnly: false,
  },
})
