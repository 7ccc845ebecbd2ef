import assert from 'node:assert'
import { it } from 'vitest'

/** What a test of node:test gets, as far as the suites that we run use it. */
export interface NodeTestContext {
  plan(assertions: number): void
  diagnostic(message: string): void
  // The loose comparisons, as in node:test: a class instance equals an object with the same fields.
  readonly assert: Pick<typeof assert, 'equal' | 'notEqual' | 'deepEqual' | 'ok'>
}

/** Runs the body of a test of node:test: as there, it fails when it makes more or fewer assertions than planned. */
export async function runPlanned(body: (t: NodeTestContext) => Promise<void>): Promise<void> {
  let planned: number | undefined
  let made = 0
  function counted<A extends unknown[]>(assertion: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      made++
      assertion(...args)
    }
  }
  await body({
    plan: (assertions) => {
      planned = assertions
    },
    diagnostic: () => {},
    assert: {
      equal: counted(assert.equal),
      notEqual: counted(assert.notEqual),
      deepEqual: counted(assert.deepEqual),
      ok: counted(assert.ok),
    },
  })
  if (planned !== undefined) assert.equal(made, planned, `planned ${planned} assertions, ${made} were made`)
}

/** `test` of node:test as a test of vitest. */
export function nodeTest(title: string, body: (t: NodeTestContext) => Promise<void>): void {
  // oxlint-disable-next-line vitest/valid-title -- the title is the suite's
  it(title, () => runPlanned(body))
}
