// Run by `npm run build`, after tsc, which only writes the types: dist/ with the program and the library in a few
// files. A start reads some dozens instead of nine hundred, which is half of its time (docs/decisions/0014-bundle.md).
import { chmodSync, cpSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = fileURLToPath(new URL('..', import.meta.url))
const [src, dist] = [join(root, 'src'), join(root, 'dist')]

/** What every start of the broker or of an agent loads; all else stays where npm put it, and is loaded from there. */
const bundled = [
  ...[
    'aedes',
    'commander',
    'hono',
    '@hono/node-server',
    '@hono/zod-openapi',
    'lru-cache',
    'mqtt',
    'mqtt-packet',
  ],
  ...['prom-client', 'ws', 'yaml', 'zod'],
]
const entries = ['index', 'tunnel/index', 'cli/index']
/** With `--inner`, for benches and for `npm run docs`, which look inside. */
const innerEntries = [
  ...['admin/metric-reference', 'broker/broker', 'cluster/single', 'config/example', 'config/handler-schema'],
  ...['config/json-schema', 'config/reference', 'config/schema', 'counters', 'hooks/build', 'hooks/chain'],
  ...[
    'hooks/guard',
    'identities/directory',
    'listeners/admission',
    'log',
    'store/embedded/store',
    'store/memory',
  ],
]

const isOwn = (id) => id.startsWith('.') || id.startsWith('/') || id.startsWith('\0')
const isOf = (name, id) => id === name || id.startsWith(`${name}/`)

/** `import.meta.url` stays the place of the module, not of the file that it was put into: files stand beside it. */
const places = {
  name: 'places',
  transform(code, id) {
    if (!id.startsWith(src) || !code.includes('import.meta.url')) return undefined
    const place = JSON.stringify(relative(src, id))
    return { code: code.replaceAll('import.meta.url', `__placeOf(${place})`), map: null }
  },
  renderChunk(code, chunk) {
    const folder = dirname(chunk.fileName)
    return code.replaceAll(
      /__placeOf\((".*?")\)/g,
      (_, place) => `new URL(${JSON.stringify(relative(folder, JSON.parse(place)))}, import.meta.url).href`,
    )
  },
}

const wanted = process.argv.includes('--inner') ? [...entries, ...innerEntries] : entries
const build = await rolldown({
  input: Object.fromEntries(wanted.map((entry) => [entry, join(src, `${entry}.ts`)])),
  platform: 'node',
  tsconfig: false,
  /** A package that one of those brings belongs to it. */
  external: (id, importer) =>
    id.startsWith('node:') ||
    (!isOwn(id) && importer?.startsWith(src) === true && !bundled.some((name) => isOf(name, id))),
  plugins: [places],
})
const { output } = await build.write({
  dir: dist,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: 'parts/[name].js',
})
await build.close()

// What an earlier build left.
const written = new Set(output.map(({ fileName }) => fileName))
for (const file of readdirSync(dist, { recursive: true }))
  if (file.endsWith('.js') && !file.startsWith('admin/dashboard/') && !written.has(file))
    rmSync(join(dist, file))

// npm sets this on installing a package, but `npx tunnelmq` in a checkout runs the file as it is.
chmodSync(join(dist, 'cli/index.js'), 0o755)
// What the program reads as it is: the scripts for Redis, the files of the dashboard.
for (const folder of ['store/redis/lua', 'admin/dashboard'])
  cpSync(join(src, folder), join(dist, folder), { recursive: true })
