import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { configJsonSchema, type JsonSchema } from '../../src/config/schema.ts'
import { chartFolder, openChart, valuesFolder, type Rendering } from '../support/helm-chart.ts'
import { kubernetesMistakes, type KubernetesObject } from '../support/kubernetes-schema.ts'

const root = new URL('../../', import.meta.url)
const chart = openChart()
const sets = readdirSync(valuesFolder).map((file) => file.replace('.yaml', ''))
const renderings = new Map(
  await Promise.all(sets.map(async (set): Promise<[string, Rendering]> => [set, await chart.render(set)])),
)

function rendering(set: string): Rendering {
  const found = renderings.get(set)
  if (found === undefined) throw new Error(`no set of values is called ${set}`)
  return found
}

interface PodSpec {
  readonly [field: string]: unknown
  readonly containers: readonly [{ readonly [field: string]: unknown }]
  readonly volumes?: readonly object[]
}

function podOf(object: KubernetesObject): PodSpec {
  if (object.kind === 'Pod') return object['spec'] as PodSpec
  return (object['spec'] as { template: { spec: PodSpec } }).template.spec
}

const withPods = ({ kind }: KubernetesObject): boolean => ['StatefulSet', 'Deployment', 'Pod'].includes(kind)

describe('the files of the chart', () => {
  it('are what `npm run docs` writes', async () => {
    const { chartFiles } = (await import(new URL('scripts/chart/files.mjs', root).href)) as {
      chartFiles: (schema: JsonSchema) => Record<string, string>
    }
    const files = Object.entries(chartFiles(configJsonSchema()))
    expect(files.length).toBeGreaterThanOrEqual(5)
    for (const [file, text] of files) expect(readFileSync(new URL(file, root), 'utf8'), file).toBe(text)
  })

  it('have the version of the package', () => {
    const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string }
    const text = readFileSync(join(chartFolder, 'Chart.yaml'), 'utf8')
    expect(text).toContain(`\nversion: ${version}\n`)
    expect(text).toContain(`\nappVersion: ${version}\n`)
  })

  it('pass `helm lint --strict` with their defaults, and with everything turned on', async () => {
    await expect(chart.lint()).resolves.toContain('0 chart(s) failed')
    await expect(chart.lint('everything')).resolves.toContain('0 chart(s) failed')
  })
})

describe.each(sets)('values %s', (set) => {
  const { objects } = rendering(set)

  it('give objects that Kubernetes knows, field by field', () => {
    expect(objects.length).toBeGreaterThan(5)
    const mistakes = objects.flatMap((object) =>
      kubernetesMistakes(object).map((mistake) => `${object.kind} ${object.metadata.name}: ${mistake}`),
    )
    expect(mistakes).toEqual([])
  })

  it('give every object a name of its own, the namespace, and the labels of the release', () => {
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`)
    expect(new Set(names).size).toBe(names.length)
    for (const { kind, metadata } of objects) {
      expect(metadata.namespace, `${kind} ${metadata.name}`).toBe('plant')
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/name': 'tunnelmq',
        'app.kubernetes.io/instance': 'mq',
      })
    }
  })

  it('run every pod without rights: not root, read-only, no capabilities, no token', () => {
    const pods = objects.filter(withPods)
    for (const pod of pods.map(podOf)) {
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      })
      expect((pod['securityContext'] as { runAsUser: number }).runAsUser).toBeGreaterThan(0)
      for (const container of pod.containers) {
        expect(container['securityContext']).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        })
        expect(container['resources']).toMatchObject({ limits: { memory: expect.any(String) as string } })
      }
    }
  })

  it('mount every volume once that is there, and every object that they name is made or named by the values', () => {
    for (const pod of objects.filter(withPods)) {
      const { volumes, containers } = podOf(pod)
      const claims = (
        (pod['spec'] as { volumeClaimTemplates?: KubernetesObject[] }).volumeClaimTemplates ?? []
      ).map(({ metadata }) => metadata.name)
      const there = [...(volumes ?? []).map((volume) => (volume as { name: string }).name), ...claims]
      expect(new Set(there).size).toBe(there.length)
      const mounts = (containers[0]['volumeMounts'] ?? []) as { name: string; mountPath: string }[]
      expect(mounts.map(({ name }) => name).toSorted()).toEqual(there.toSorted())
      expect(new Set(mounts.map(({ mountPath }) => mountPath)).size).toBe(mounts.length)
    }
    const text = readFileSync(join(valuesFolder, `${set}.yaml`), 'utf8')
    const named = JSON.stringify(objects).matchAll(
      /"(?:secretName|configMap":{"name|secretKeyRef":{"name)":"([^"]+)"/g,
    )
    for (const [, name = ''] of named) {
      const isMade = objects.some(
        ({ kind, metadata }) => metadata.name === name && /Secret|ConfigMap/.test(kind),
      )
      const ofCertManager = objects.some(
        ({ kind, spec }) => kind === 'Certificate' && (spec as { secretName: string }).secretName === name,
      )
      expect(isMade || ofCertManager || text.includes(name), name).toBe(true)
    }
  })

  it('lead every service to ports that the pods have, by selectors that fit their labels', () => {
    const pods = objects.filter(({ kind }) => kind === 'StatefulSet' || kind === 'Deployment')
    for (const service of objects.filter(({ kind }) => kind === 'Service')) {
      const { selector, ports } = service['spec'] as {
        selector: Record<string, string>
        ports: { targetPort: string }[]
      }
      const chosen = pods.filter((pod) => {
        const { labels } = (pod['spec'] as { template: KubernetesObject }).template.metadata
        return Object.entries(selector).every(([key, value]) => labels?.[key] === value)
      })
      expect(chosen, service.metadata.name).toHaveLength(1)
      const open = (podOf(chosen[0]!).containers[0]['ports'] as { name: string }[]).map(({ name }) => name)
      for (const { targetPort } of ports) expect(open).toContain(targetPort)
    }
  })

  it('put no password into a ConfigMap', () => {
    const maps = objects
      .filter(({ kind }) => kind === 'ConfigMap')
      .map((object) => JSON.stringify(object['data']))
    for (const data of maps)
      expect(data).not.toMatch(/password: |passphrase|\$scrypt\$|\$7\$|PRIVATE KEY|:\/\/[^/ ]*:[^/ ]*@/)
  })
})

describe('the pages', () => {
  const page = (name: string): string => readFileSync(new URL(`docs/${name}`, root), 'utf8')

  it('have examples that the chart takes, each by itself', async () => {
    const blocks = [...page('helm.md').matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, text = '']) => text)
    expect(blocks.length).toBeGreaterThan(8)
    // Parts of a whole: what their neighbours in the page have set up.
    const around = {
      tls: { existingSecret: 'mqtt-tls' },
      store: { type: 'redis' },
      redis: { url: 'redis://r/0' },
    }
    for (const text of blocks) {
      const values = parse(text) as Record<string, object>
      const { tls, ...rest } = around
      const needsTls = values['config'] !== undefined
      const { objects } = await chart.render({ ...rest, ...(needsTls && { tls }) }, dropOwn(values))
      expect(objects.length).toBeGreaterThan(5)
    }
  })

  it('name no value that the chart does not have', () => {
    const schema = JSON.parse(readFileSync(join(chartFolder, 'values.schema.json'), 'utf8')) as Node
    for (const name of ['helm.md', 'from-vernemq-chart.md']) {
      const sections = Object.keys(schema.properties ?? {}).join('|')
      const named = page(name).matchAll(new RegExp(`\`((?:${sections})(?:\\.[A-Za-z0-9]+)+)`, 'g'))
      const ours = [...named].map(([, path = '']) => path).filter((path) => !theirs.has(path))
      expect(ours.length).toBeGreaterThan(10)
      expect(
        ours.filter((path) => !isIn(schema, path.split('.'))),
        name,
      ).toEqual([])
    }
  })
})

interface Node {
  readonly properties?: Readonly<Record<string, Node>>
  readonly items?: Node
}

/** Of VerneMQ, and with us nothing. */
const theirs = new Set(['rbac.create'])

function isIn(node: Node, path: readonly string[]): boolean {
  const [key, ...rest] = path
  if (key === undefined) return true
  const inner = (node.properties ?? node.items?.properties)?.[key]
  return inner !== undefined && isIn(inner, rest)
}

/** The trial with a Redis of its own does not go with the one around it. */
function dropOwn(values: Record<string, object>): object {
  const { redis } = values as { redis?: { own?: object } }
  return redis?.own === undefined ? values : { ...values, redis: { ...redis, url: '' } }
}
