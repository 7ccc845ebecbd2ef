import { writeFileSync } from 'node:fs'

/**
 * A reporter of vitest for `.ci/run`. The file that TEST_SUMMARY names has the counts of passed and failed tests in its
 * first line, then a line for each failure. It is written again behind each test file: so a run that its deadline ends
 * has said what it knew.
 *
 * vitest's own `json` gives the stack of an error alone, which of a time-out begins with STACK_TRACE_ERROR.
 */
export default class CiReporter {
  #file = process.env.TEST_SUMMARY
  #passed = 0
  #failed = 0
  #lines = []

  onTestModuleEnd(testModule) {
    const file = testModule.relativeModuleId
    for (const error of testModule.errors()) this.#tell(file, error)
    for (const suite of testModule.children.allSuites())
      for (const error of suite.errors()) this.#tell(`${file}: ${suite.fullName}`, error)
    for (const test of testModule.children.allTests()) {
      const { state, errors } = test.result()
      if (state === 'passed') this.#passed++
      if (state !== 'failed') continue
      this.#failed++
      this.#tell(`${file}: ${test.fullName}`, errors[0])
    }
    this.#write()
  }

  onTestRunEnd(_testModules, unhandledErrors) {
    for (const error of unhandledErrors) this.#tell('unhandled', error)
    this.#write()
  }

  #tell(where, error) {
    const frame = String(error?.stack ?? '')
      .split('\n')
      .find((line) => line.includes('/test/') && !line.includes('/node_modules/'))
    const at = frame === undefined ? [] : [frame.slice(frame.lastIndexOf('/test/') + 1).replace(')', '')]
    const words = String(error?.message ?? error)
      // oxlint-disable-next-line no-control-regex
      .replaceAll(/\u001B\[[\d;]*m/g, '')
      .split('\n', 3)
    this.#lines.push(`        ${where}: ${[words.join(' | ').slice(0, 400), ...at].join(' | ')}`)
  }

  #write() {
    writeFileSync(this.#file, [`${this.#passed} ${this.#failed}`, ...this.#lines, ''].join('\n'))
  }
}
