import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createStreams } from '../../../../src/tunnel/protocol/create-streams.ts'
import { play, realPodScenarios, tinyPodScenarios } from '../../../support/tunnel-simulation-scenarios.ts'

describe('streams between two ends that come to any of three pods, while pods die', () => {
  it.each([
    ['small', tinyPodScenarios, 400],
    ['large', realPodScenarios, 100],
  ] as const)(
    'carry every byte once and in order, and end as they should: %s',
    (_title, scenarios, numRuns) => {
      fc.assert(
        fc.property(scenarios, (scenario) => {
          expect(play(scenario, createStreams).isOver).toBe(true)
        }),
        // Looking for the smallest counterexample takes minutes, of which CI has none; seed and path are printed.
        { numRuns, endOnFailure: true },
      )
    },
    240_000,
  )
})
