import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Rendering } from './helm-chart.ts'
import type { KubernetesObject } from './kubernetes-schema.ts'

/** Contents of Secrets and ConfigMaps that a user has made, by name. */
export type Foreign = Readonly<Record<string, Readonly<Record<string, string>>>>

interface Container {
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly {
    readonly name: string
    readonly value?: string
    readonly valueFrom?: {
      readonly fieldRef?: object
      readonly secretKeyRef?: { readonly name: string; readonly key: string }
    }
  }[]
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[]
}

interface Volume {
  readonly name: string
  readonly configMap?: { readonly name: string }
  readonly secret?: { readonly secretName: string }
}

/** The container of a pod, as its node would set it up, in a folder instead of `/`. */
export interface LaidOutPod {
  readonly env: Readonly<Record<string, string>>
  readonly command: readonly string[]
  readonly args: readonly string[]
  /** Where a path of the pod is here. */
  path(path: string): string
}

export function layOutPod(
  rendering: Rendering,
  object: KubernetesObject,
  folder: string,
  foreign: Foreign = {},
): LaidOutPod {
  const spec = (
    object.kind === 'Pod' ? object['spec'] : (object['spec'] as { template: { spec: unknown } }).template.spec
  ) as { containers: readonly [Container]; volumes?: readonly Volume[] }
  const [container] = spec.containers
  const mounts = container.volumeMounts ?? []
  const path = (inPod: string): string => join(folder, inPod)

  function contentOf(name: string): Readonly<Record<string, string>> {
    const own = rendering.objects.find(
      ({ kind, metadata }) => (kind === 'Secret' || kind === 'ConfigMap') && metadata.name === name,
    )
    if (own === undefined) {
      const given = foreign[name]
      if (given === undefined) throw new Error(`neither the chart nor the test has ${name}`)
      return given
    }
    const data = (own['data'] ?? {}) as Record<string, string>
    const plain =
      own.kind === 'ConfigMap'
        ? data
        : Object.fromEntries(
            Object.entries(data).map(([key, text]) => [key, Buffer.from(text, 'base64').toString()]),
          )
    return { ...plain, ...(own['stringData'] as Record<string, string> | undefined) }
  }

  for (const { name, mountPath } of mounts) {
    mkdirSync(path(mountPath), { recursive: true })
    const volume = spec.volumes?.find((one) => one.name === name)
    const source = volume?.configMap?.name ?? volume?.secret?.secretName
    if (source === undefined) continue
    for (const [file, text] of Object.entries(contentOf(source))) {
      mkdirSync(dirname(path(join(mountPath, file))), { recursive: true })
      writeFileSync(path(join(mountPath, file)), mapped(text))
    }
  }

  /** Paths of the pod, as they are here; all at once, as ours contain them. */
  function mapped(text: string): string {
    if (mounts.length === 0) return text
    const paths = mounts.map(({ mountPath }) => mountPath).join('|')
    return text.replaceAll(new RegExp(`(?<![\\w/.-])(${paths})(?![\\w-])`, 'g'), (inPod) => path(inPod))
  }

  const env: Record<string, string> = {}
  for (const { name, value, valueFrom } of container.env ?? []) {
    const secret = valueFrom?.secretKeyRef
    const found = value ?? (secret === undefined ? object.metadata.name : contentOf(secret.name)[secret.key])
    if (found === undefined) throw new Error(`${name} is in no Secret`)
    env[name] = mapped(found)
  }
  return {
    env,
    path,
    command: (container.command ?? []).map(mapped),
    args: (container.args ?? []).map(mapped),
  }
}
