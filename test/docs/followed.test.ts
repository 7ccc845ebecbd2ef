import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { difference, parsePage, type Step } from './page.ts'
import { namespaceFault, openTerminal, type Terminal } from './terminal.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'bench/README.md',
  ...readdirSync(`${root}docs`)
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].map((name) => ({ name, steps: parsePage(readFileSync(root + name, 'utf8'), name) }))
const isRun = ({ kind }: Step): boolean => kind !== 'not run' && kind !== 'file'

async function follow(step: Step, terminal: Terminal): Promise<void> {
  switch (step.kind) {
    case 'run':
      return void (await terminal.run(step.script, step.input))
    case 'compare': {
      const fault = difference(await terminal.run(step.script), step.expected)
      if (fault !== undefined) throw new Error(fault)
      return
    }
    case 'background':
      for (const script of step.scripts) await terminal.start(script, step.until)
      return
    case 'file':
      return terminal.write(step.name, step.text)
    case 'not run':
      return
    default:
      step satisfies never
  }
}

describe('the documentation, followed word by word on a machine with nothing else', () => {
  it('has a network of its own for that, or was told that it has not', () => {
    if (process.env['TUNNELMQ_TEST_NO_NETNS'] === '1') {
      console.warn('TUNNELMQ_TEST_NO_NETNS=1: the pages are followed on the ports of this machine')
      return
    }
    expect(
      namespaceFault(),
      'network namespaces are needed (root); or set TUNNELMQ_TEST_NO_NETNS=1',
    ).toBeUndefined()
  })

  it('says why, where a block is not run', () => {
    const silent = pages.flatMap(({ name, steps }) =>
      steps.flatMap((step) =>
        step.kind === 'not run' && step.reason.length < 10 ? [`${name}:${step.line}`] : [],
      ),
    )
    expect(silent).toEqual([])
  })

  for (const { name, steps } of pages.filter((page) => page.steps.some(isRun))) {
    it(`${name}: ${steps.filter(isRun).length} steps`, async () => {
      const terminal = await openTerminal()
      try {
        for (const step of steps) {
          try {
            await follow(step, terminal)
          } catch (error) {
            throw new Error(`${name}:${step.line}: ${(error as Error).message}`, { cause: error })
          }
        }
      } finally {
        await terminal.close()
      }
    })
  }
})
