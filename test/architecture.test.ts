import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const src = fileURLToPath(new URL('../src', import.meta.url))

interface Import {
  /** Path in src, or the name of a package. */
  readonly target: string
  readonly isType: boolean
}

/** Every `import` and `export ... from` of a file; types are marked, as they are gone at run time. */
function importsOf(file: string, text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)
  const dynamic = text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)
  const found = [
    ...[...statements].map((match) => ({ specifier: match[2] ?? '', isType: match[1] !== undefined })),
    ...[...dynamic].map((match) => ({ specifier: match[1] ?? '', isType: false })),
  ]
  return found.map(({ specifier, isType }) => ({ target: resolveImport(file, specifier), isType }))
}

function resolveImport(file: string, specifier: string): string {
  return specifier.startsWith('.') ? join(dirname(file), specifier) : specifier
}

const texts = new Map(
  readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [file, readFileSync(join(src, file), 'utf8')]),
)
const imports = new Map([...texts].map(([file, text]) => [file, importsOf(file, text)]))
const ours = (file: string): Import[] => (imports.get(file) ?? []).filter(({ target }) => texts.has(target))

/** Files that stand below everything and import nothing of ours but each other. */
const ground = [
  'errors.ts',
  'peer.ts',
  'version.ts',
  'latency-histogram.ts',
  'watch-files.ts',
  'rewrite-file.ts',
  'timer.ts',
  'tally.ts',
]
/** Contracts: what a folder shows to the others. */
const contracts = [
  'hooks/types.ts',
  'store/contract.ts',
  'store/session-expiry.ts',
  'store/session-id.ts',
  'cluster/contract.ts',
  'config/schema.ts',
  'tracing/contract.ts',
  'admin/read-model.ts',
  'admin/operations.ts',
  'admin/api/resources.ts',
  'admin/api/identity-resources.ts',
]

/** What puts everything together, and may import all of it. */
const roots = ['main.ts', 'index.ts', 'start']

/** What each part may import of the others, as a folder (`x/`) or a file. Its own folder is always allowed. */
const allowed: Record<string, readonly string[]> = {
  tracing: ['log.ts', 'config/tracing-schema.ts'],
  'log.ts': ['config/schema.ts'],
  'counters.ts': ['hooks/types.ts'],
  /** The rules for topics, which import nothing. */
  config: ['broker/topics.ts'],
  store: ['log.ts', 'hooks/types.ts', 'broker/topics.ts', 'config/schema.ts', 'config/cluster-schema.ts'],
  hooks: [
    'log.ts',
    'counters.ts',
    'broker/topics.ts',
    'identities/',
    'config/schema.ts',
    'config/jwt-schema.ts',
    'config/webhook-schema.ts',
    'config/client-tls-schema.ts',
    'config/certificate-schema.ts',
    'config/certificate-pattern.ts',
  ],
  listeners: ['log.ts', 'counters.ts', 'hooks/types.ts', 'config/schema.ts', 'config/listener-name.ts'],
  admin: [
    'log.ts',
    'counters.ts',
    'store/contract.ts',
    'store/session-id.ts',
    'hooks/types.ts',
    'tunnel/router/counters.ts',
    'tracing/contract.ts',
    'cluster/contract.ts',
    'config/admin-schema.ts',
    'config/nearest.ts',
    'listeners/tls-files.ts',
    'bridge/counters.ts',
    'gateway/coap/counts.ts',
  ],
  broker: [
    'log.ts',
    'counters.ts',
    'hooks/',
    'store/contract.ts',
    'store/session-expiry.ts',
    'store/session-id.ts',
    'store/counted-bytes.ts',
    'listeners/transport.ts',
    'listeners/admission.ts',
    'listeners/cidr.ts',
    'listeners/token-bucket.ts',
    'config/schema.ts',
    'config/listener-name.ts',
    'admin/cursor.ts',
    'admin/read-model.ts',
    'admin/operations.ts',
    'admin/api/resources.ts',
    'admin/cursor.ts',
    'cluster/contract.ts',
    'tunnel/protocol/',
    'tunnel/router/',
    'tunnel/status.ts',
    'tracing/attributes.ts',
    'tracing/contract.ts',
  ],
  cluster: [
    'log.ts',
    'counters.ts',
    'hooks/types.ts',
    'store/contract.ts',
    'store/codec.ts',
    'store/properties.ts',
    'store/session-expiry.ts',
    'store/session-id.ts',
    'store/will-codec.ts',
    'store/redis/',
    'config/',
  ],
  /** The ends of tunnels: programs of their own, which do not bring the broker with them. */
  tunnel: [],
  'tunnel/router': [
    'tunnel/protocol/',
    'cluster/contract.ts',
    'log.ts',
    'hooks/types.ts',
    'hooks/decision.ts',
    'config/tunnel-schema.ts',
    'tracing/attributes.ts',
    'tracing/contract.ts',
  ],
  /** Who may do what, for the dynamic handler: records and rules. */
  identities: [
    'log.ts',
    'hooks/types.ts',
    'hooks/log.ts',
    'hooks/password-hash.ts',
    'broker/topics.ts',
    'store/contract.ts',
    'admin/operations.ts',
    'admin/api/resources.ts',
    'admin/api/identity-resources.ts',
  ],
  gateway: [
    'log.ts',
    'counters.ts',
    'broker/door/contract.ts',
    'listeners/transport.ts',
    'hooks/decision.ts',
    'tunnel/',
    'listeners/bind.ts',
    'listeners/cidr.ts',
    'listeners/proxy-protocol.ts',
    'listeners/proxy-reader.ts',
    'listeners/visit.ts',
    'config/proxy-schema.ts',
    'listeners/admission.ts',
    'listeners/http-visit.ts',
    'listeners/listener.ts',
    'listeners/token-bucket.ts',
    'broker/listener-profile.ts',
    'broker/topics.ts',
    'hooks/types.ts',
    'config/coap-schema.ts',
    'config/http-schema.ts',
    'config/schema.ts',
    'config/tunnel-schema.ts',
    'config/network-names.ts',
  ],
  /** Files for other machines: `tunnelmq gateway init`. */
  'gateway-init': ['hooks/password-hash.ts', 'config/network-names.ts'],
  /** Other brokers' configurations: they become ours, and are checked by those who read them later. */
  import: ['config/', 'hooks/acl.ts', 'hooks/password-file.ts'],
  doctor: [
    'config/',
    'hooks/certificate/crl-files.ts',
    'listeners/cidr.ts',
    'store/redis/direct.ts',
    'store/redis/server-check.ts',
    'tunnel/',
    'admin/api/resources.ts',
  ],
  /** A client of this broker and of another one. */
  bridge: [
    'log.ts',
    'broker/',
    'hooks/',
    'cluster/contract.ts',
    'store/contract.ts',
    'store/session-id.ts',
    'store/session-expiry.ts',
    'admin/read-model.ts',
    'listeners/transport.ts',
    'config/schema.ts',
    'config/bridge-schema.ts',
  ],
  cli: [
    'main.ts',
    'log.ts',
    'config/',
    'hooks/',
    'store/',
    'tunnel/',
    'import/',
    'gateway-init/',
    'doctor/',
    'admin/api/resources.ts',
    'admin/api/identity-resources.ts',
    'admin/api/scopes.ts',
    'admin/api-key.ts',
    'admin/key-file.ts',
  ],
}

/** The file or folder that alone knows a library. */
const owners: Record<string, string | readonly string[]> = {
  '@opentelemetry/api': 'tracing/otlp.ts',
  '@opentelemetry/exporter-trace-otlp-http': 'tracing/otlp.ts',
  '@opentelemetry/resources': 'tracing/otlp.ts',
  '@opentelemetry/sdk-trace': 'tracing/otlp.ts',
  aedes: 'broker/',
  mqtt: ['bridge/remote.ts', 'bridge/packet-ids.ts'],
  'mqtt-packet': 'broker/',
  ws: ['listeners/', 'tunnel/link/'],
  'classic-level': 'store/embedded/',
  ioredis: 'store/redis/',
  pino: 'log.ts',
  'pino-pretty': 'log.ts',
  // The API's description is one of ours as well: zod with what OpenAPI needs.
  zod: 'config/',
  '@hono/zod-openapi': 'admin/',
  yaml: 'config/yaml.ts',
  jose: 'hooks/jwt/',
  'lru-cache': 'hooks/',
  pkijs: ['hooks/certificate/', 'gateway-init/certificate.ts'],
  asn1js: ['hooks/certificate/', 'gateway-init/certificate.ts'],
  commander: 'cli/',
  hono: 'admin/',
  '@hono/node-server': 'admin/',
  'prom-client': 'admin/metrics.ts',
}

function isUnder(file: string, place: string): boolean {
  return place.endsWith('/') ? file.startsWith(place) : file === place
}

/** The folder in `src`; the router of tunnels is a part of its own, as it belongs to the broker. */
function partOf(file: string): string {
  if (file.startsWith('tunnel/router/')) return 'tunnel/router'
  return file.split('/')[0] ?? file
}

describe('the import directions of src', () => {
  it('finds the files and their imports', () => {
    expect(texts.size).toBeGreaterThan(20)
    expect(ours('config/load.ts').map(({ target }) => target)).toContain('config/schema.ts')
    expect(
      importsOf('a/b.ts', "import type {\n  A,\n} from '../c.ts'\nexport { x } from './d.ts'\n"),
    ).toEqual([
      { target: 'c.ts', isType: true },
      { target: 'a/d.ts', isType: false },
    ])
  })

  it('lets the ground files import only each other', () => {
    const wrong = ground.flatMap((file) =>
      ours(file)
        .filter(({ target }) => !ground.includes(target))
        .map(({ target }) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })

  it.each(Object.entries(allowed))('lets %s import only what architecture.md allows', (part, places) => {
    const files = [...texts.keys()].filter((file) => partOf(file) === part)
    const wrong = files.flatMap((file) =>
      ours(file)
        .filter(({ target }) => partOf(target) !== part && !ground.includes(target))
        .filter(({ target }) => !places.some((place) => isUnder(target, place)))
        .map(({ target }) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })

  it('knows every part of src', () => {
    const known = new Set([...Object.keys(allowed), ...ground, ...roots])
    expect([...texts.keys()].map(partOf).filter((part) => !known.has(part))).toEqual([])
  })

  it('keeps the contracts free of code of other folders', () => {
    const wrong = contracts.flatMap((file) =>
      ours(file)
        .filter(({ isType, target }) => !isType && partOf(target) !== partOf(file))
        .map(({ target }) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })

  it('imports each library in one place only, and none that is not listed', () => {
    const wrong = [...imports].flatMap(([file, list]) =>
      list
        .map(({ target }) => target)
        .filter((target) => !texts.has(target) && !target.startsWith('node:'))
        .filter((target) => {
          const library = target.split('/', target.startsWith('@') ? 2 : 1).join('/')
          const owner = owners[library]
          return owner === undefined || ![owner].flat().some((place) => isUnder(file, place))
        })
        .map((target) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })

  it('has no cycles', () => {
    const state = new Map<string, 'open' | 'done'>()
    const cycles: string[] = []
    const visit = (file: string, trail: readonly string[]): void => {
      if (state.get(file) === 'done') return
      if (state.get(file) === 'open') {
        cycles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '))
        return
      }
      state.set(file, 'open')
      for (const { target, isType } of ours(file)) if (!isType) visit(target, [...trail, file])
      state.set(file, 'done')
    }
    for (const file of texts.keys()) visit(file, [])
    expect(cycles).toEqual([])
  })

  it('has no barrels', () => {
    const barrels = [...texts].filter(([file, text]) => file !== 'index.ts' && /^export \* /m.test(text))
    expect(barrels.map(([file]) => file)).toEqual([])
  })
})

describe('the environment', () => {
  it('is read by the command line alone, which hands it on', () => {
    const readers = [...texts].filter(([, text]) => /process\.env\b|\benv\b[^\n]*= process\b/.test(text))
    expect(readers.map(([file]) => file).filter((file) => !file.startsWith('cli/'))).toEqual([])
  })
})
