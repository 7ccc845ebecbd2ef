import { execFile, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'
import { parseAllDocuments } from 'yaml'
import type { KubernetesObject } from './kubernetes-schema.ts'

/** The chart, rendered by the real helm (`scripts/install-helm`), as objects. */

const root = fileURLToPath(new URL('../../', import.meta.url))
export const chartFolder = join(root, 'deploy/helm/tunnelmq')
export const valuesFolder = join(root, 'test/deploy/values')

/** NOTES.txt is shown by `helm install` alone, which needs a cluster: here it is rendered into an object. */
const notesTemplate = `apiVersion: v1
kind: ConfigMap
metadata: { name: notes-of-the-test }
data:
  notes: |
    {{- include (print $.Template.BasePath "/NOTES.txt") . | nindent 4 }}
`

export interface Rendering {
  readonly objects: readonly KubernetesObject[]
  readonly notes: string
  /** The only object of the kind, or the one with this name; throws where there is none. */
  find(kind: string, name?: string): KubernetesObject
  has(kind: string, name?: string): boolean
}

export type Values = string | object

export interface HelmChart {
  /** Of value files (names in test/deploy/values, without .yaml) and values, the later over the earlier. */
  render(...values: readonly Values[]): Promise<Rendering>
  /** What helm says where it refuses; throws when it does not. */
  refusal(...values: readonly Values[]): Promise<string>
  lint(...values: readonly Values[]): Promise<string>
}

/** For the tests of a file, after which its copy of the chart is removed. */
export function openChart(): HelmChart {
  const helm = execFileSync(join(root, 'scripts/install-helm'), { encoding: 'utf8' }).trim()
  const folder = mkdtempSync(join(tmpdir(), 'tunnelmq-chart-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const chart = join(folder, 'tunnelmq')
  cpSync(chartFolder, chart, { recursive: true })
  writeFileSync(join(chart, 'templates', 'notes-of-the-test.yaml'), notesTemplate)
  mkdirSync(join(folder, 'values'))
  let files = 0

  function flagsOf(values: readonly Values[]): string[] {
    return values.flatMap((one) => {
      if (typeof one === 'string') return ['--values', join(valuesFolder, `${one}.yaml`)]
      const file = join(folder, 'values', `${(files += 1)}.yaml`)
      writeFileSync(file, JSON.stringify(one))
      return ['--values', file]
    })
  }

  function run(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      const env = { PATH: process.env['PATH'], HOME: folder }
      execFile(helm, args, { env, maxBuffer: 64 * 1_048_576 }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : 1, stdout, stderr })
      })
    })
  }

  function template(values: readonly Values[]): ReturnType<typeof run> {
    const flags = ['--namespace', 'plant', '--kube-version', '1.31.0']
    return run(['template', 'mq', chart, ...flags, ...flagsOf(values)])
  }

  return {
    async render(...values) {
      const { code, stdout, stderr } = await template(values)
      if (code !== 0) throw new Error(stderr)
      const objects = parseAllDocuments(stdout).flatMap((document) => {
        const object = document.toJS() as KubernetesObject | null
        return object === null ? [] : [object]
      })
      return renderingOf(objects)
    },
    async refusal(...values) {
      const { code, stderr } = await template(values)
      if (code === 0) throw new Error('helm has rendered what it should refuse')
      return stderr
    },
    async lint(...values) {
      const { code, stdout, stderr } = await run(['lint', '--strict', chartFolder, ...flagsOf(values)])
      if (code !== 0) throw new Error(stdout + stderr)
      return stdout
    },
  }
}

function renderingOf(all: readonly KubernetesObject[]): Rendering {
  const isNotes = ({ metadata }: KubernetesObject): boolean => metadata.name === 'notes-of-the-test'
  const objects = all.filter((object) => !isNotes(object))
  const matching = (kind: string, name?: string): KubernetesObject[] =>
    objects.filter((one) => one.kind === kind && (name === undefined || one.metadata.name === name))
  return {
    objects,
    notes: (all.find(isNotes) as unknown as { data: { notes: string } }).data.notes,
    has: (kind, name) => matching(kind, name).length > 0,
    find(kind, name) {
      const found = matching(kind, name)
      if (found.length !== 1) {
        const names = objects.map((one) => `${one.kind} ${one.metadata.name}`).join(', ')
        throw new Error(`${found.length} objects are ${kind} ${name ?? ''}; there are ${names}`)
      }
      return found[0]!
    },
  }
}
