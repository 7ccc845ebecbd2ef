import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/**
 * Checks objects against Kubernetes' own schemas (kubernetes-models, generated from its OpenAPI), and finds fields that
 * these do not know, which Kubernetes would refuse or drop. The schemas are validators made by ajv, and open: a
 * validator reads every field that it knows, so what it has not read is unknown.
 */

export interface KubernetesObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly [field: string]: unknown
}

interface Validator {
  (data: unknown): boolean
  errors?: readonly { readonly instancePath: string; readonly message?: string; readonly params?: object }[]
}

const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))
const require = createRequire(import.meta.url)

const groups: Record<string, string> = {
  v1: 'kubernetes-models/_schemas/IoK8sApiCoreV1',
  'apps/v1': 'kubernetes-models/_schemas/IoK8sApiAppsV1',
  'autoscaling/v2': 'kubernetes-models/_schemas/IoK8sApiAutoscalingV2',
  'networking.k8s.io/v1': 'kubernetes-models/_schemas/IoK8sApiNetworkingV1',
  'policy/v1': 'kubernetes-models/_schemas/IoK8sApiPolicyV1',
  'cert-manager.io/v1': '@kubernetes-models/cert-manager/_schemas/CertManagerIoV1',
  'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator/_schemas/MonitoringCoreosComV1',
}

/** What is wrong with the object, a line each; empty if nothing is. */
export function kubernetesMistakes(object: KubernetesObject): string[] {
  const group = groups[object.apiVersion]
  if (group === undefined) return [`no schemas for ${object.apiVersion}`]
  const { validate } = require(`${modules}/${group}${object.kind}.js`) as { validate: Validator }
  const read = new Set<string>()
  const isValid = validate(recording(object, '', read))
  const wrong = (validate.errors ?? []).map(
    ({ instancePath, message = 'is wrong', params }) =>
      `${instancePath} ${message} ${JSON.stringify(params ?? {})}`,
  )
  const unknown = fieldsOf(object, '').filter((field) => !read.has(field))
  return [
    ...(isValid ? [] : wrong),
    ...unknown
      .filter((field) => !unknown.some((other) => other !== field && field.startsWith(`${other}/`)))
      .map((field) => `${field} is not known`),
  ]
}

/** The same value, which notes the paths that are read. */
function recording(value: unknown, path: string, read: Set<string>): unknown {
  if (typeof value !== 'object' || value === null) return value
  return new Proxy(value, {
    get(target, key) {
      const inner: unknown = Reflect.get(target, key)
      if (typeof key !== 'string' || !Object.hasOwn(target, key)) return inner
      read.add(`${path}/${key}`)
      return recording(inner, `${path}/${key}`, read)
    },
  })
}

function fieldsOf(value: unknown, path: string): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => [
    `${path}/${key}`,
    ...fieldsOf(inner, `${path}/${key}`),
  ])
}
