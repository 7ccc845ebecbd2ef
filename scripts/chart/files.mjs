// The files of the chart that are made: values.yaml, values.schema.json, docs/helm-values.md, and copies of the alerts
// and the dashboard, as helm reads nothing outside the chart. Written by `npm run docs`.
import { existsSync, readFileSync } from 'node:fs'
import { z } from 'zod'
import { stringify } from 'yaml'
import { valuesSchema } from './values.mjs'

const chart = 'deploy/helm/tunnelmq'
const origin = 'scripts/chart/values.mjs'
const root = new URL('../../', import.meta.url)

/** File names, from the root of the repository, and their texts. `configSchema` is the JSON Schema of ours. */
export function chartFiles(configSchema) {
  const schema = schemaOf(configSchema)
  const files = {
    [`${chart}/values.yaml`]: valuesFile(schema),
    [`${chart}/values.schema.json`]: `${JSON.stringify(published(schema), undefined, 2)}\n`,
    'docs/helm-values.md': reference(schema),
  }
  for (const [copy, source] of [
    [`${chart}/files/alerts.yaml`, 'deploy/prometheus/rules.yaml'],
    [`${chart}/files/dashboard.json`, 'deploy/grafana/tunnelmq.json'],
  ]) {
    if (existsSync(new URL(source, root))) files[copy] = readFileSync(new URL(source, root), 'utf8')
  }
  return files
}

function schemaOf(config) {
  const parts = ourParts(config)
  return z.toJSONSchema(valuesSchema, {
    io: 'input',
    reused: 'inline',
    override({ jsonSchema }) {
      if (jsonSchema.ours === undefined) return
      const part = parts[jsonSchema.ours]
      if (part === undefined) throw new Error('a mark `ours` names no part of our schema')
      const { description = part.description, default: byDefault, example } = jsonSchema
      for (const key of Object.keys(jsonSchema)) delete jsonSchema[key]
      Object.assign(jsonSchema, structuredClone(part))
      jsonSchema.description = description
      delete jsonSchema.default
      if (byDefault !== undefined) jsonSchema.default = byDefault
      if (example !== undefined) jsonSchema.example = example
      jsonSchema.isOurs = true
    },
  })
}

/** Parts of the schema of our configuration, as values take them. */
function ourParts(config) {
  const listeners = config.properties.listeners.items
  const variants = listeners.oneOf ?? listeners.anyOf
  const fields = Object.assign({}, ...variants.map(({ properties }) => properties))
  // The files of the certificate come from a Secret; here are the other settings.
  fields.tls = { ...fields.tls, required: [] }
  const tunnelListen = config.properties.tunnel.properties.listen.items.properties
  const bridge = config.properties.bridges.items
  const closed = (properties, required = []) => ({
    type: 'object',
    properties,
    required,
    additionalProperties: false,
  })
  const without = (properties, ...names) =>
    Object.fromEntries(Object.entries(properties).filter(([name]) => !names.includes(name)))
  const port = { type: 'integer', minimum: 1, maximum: 65_535 }
  return {
    config: { ...config, $schema: undefined },
    // What belongs to the kind of listener that it is, is asked by the broker's own check.
    listener: closed(without(fields, 'type', 'name', 'host', 'port', 'path', 'mode')),
    extraListener: closed(
      {
        ...without(fields, 'path', 'mode', 'host'),
        type: { enum: ['tcp', 'tls', 'ws', 'wss', 'http', 'https', 'coap', 'proxy'] },
        name: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$' },
        port: { ...port, minimum: 1_024 },
        servicePort: port,
        nodePort: port,
      },
      ['name', 'type', 'port'],
    ),
    bridge: closed(
      {
        ...without(bridge.properties, 'password'),
        existingSecret: closed(
          { name: { type: 'string' }, usernameKey: { type: 'string' }, passwordKey: { type: 'string' } },
          ['name'],
        ),
      },
      bridge.required,
    ),
    ...Object.fromEntries(Object.entries(tunnelListen).map(([name, part]) => [`tunnel.${name}`, part])),
  }
}

const marks = new Set(['ours', 'isOurs', 'example', 'secret', 'secretUrl', 'filePath'])

/** Without our marks, and without defaults: those are in values.yaml. */
function published(node, isMap = false) {
  if (Array.isArray(node)) return node.map((entry) => published(entry))
  if (node === null || typeof node !== 'object') return node
  const kept = Object.entries(node).filter(
    ([key, value]) => value !== undefined && (isMap || (!marks.has(key) && key !== 'default')),
  )
  return Object.fromEntries(
    kept.map(([key, value]) => [key, published(value, !isMap && key === 'properties')]),
  )
}

const isSection = (node) => node.properties !== undefined && node.isOurs !== true

function valuesFile(schema) {
  const head = `# Values of the chart TunnelMQ, with their defaults. Made from ${origin} by \`npm run docs\`; the same as a table:\n# docs/helm-values.md. How to use them: docs/helm.md.\n`
  return `${head}\n${linesOf(schema, '').join('\n')}\n`
}

function linesOf(node, indent) {
  return Object.entries(node.properties).flatMap(([key, value]) => {
    if (key === 'global') return []
    const comment = wrapped(value.description ?? '', 108 - indent.length).map((line) => `${indent}# ${line}`)
    const gap = indent === '' ? [''] : []
    if (isSection(value)) return [...gap, ...comment, `${indent}${key}:`, ...linesOf(value, `${indent}  `)]
    const example = (value.example ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => `${indent}#   ${line}`)
    if (value.default === undefined) return [...gap, ...comment, `${indent}# ${key}:`]
    const yaml = stringify({ [key]: value.default }, { lineWidth: 0, singleQuote: true }).trimEnd()
    return [...gap, ...comment, ...yaml.split('\n').map((line) => indent + line), ...example]
  })
}

function wrapped(text, width) {
  const lines = ['']
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
  }
  return lines.filter((line) => line !== '')
}

function reference(schema) {
  const rows = rowsOf(schema, '').map(([key, byDefault, what]) => `| \`${key}\` | ${byDefault} | ${what} |`)
  return `# Values of the Helm chart

<!-- Generated from ${origin} by \`npm run docs\`. -->

How to use them: [helm.md](helm.md). Names are those of VerneMQ's chart where they mean the same: [from-vernemq-chart.md](from-vernemq-chart.md). Unknown names and wrong types are refused by \`values.schema.json\`.

| value | default | |
|---|---|---|
${rows.join('\n')}
`
}

function rowsOf(node, prefix) {
  return Object.entries(node.properties).flatMap(([key, value]) => {
    const path = `${prefix}${key}`
    if (isSection(value)) return rowsOf(value, `${path}.`)
    const byDefault = value.default === undefined ? '' : `\`${JSON.stringify(value.default)}\``
    const choice = value.enum === undefined ? '' : ` (${value.enum.map((word) => `\`${word}\``).join(', ')})`
    const what = `${value.description ?? ''}${choice}`
    const list = value.items?.properties
    const rows = [[path, byDefault, what.replaceAll('|', '\\|')]]
    return list === undefined || key === 'bridges' || key === 'extraListeners'
      ? rows
      : [...rows, ...rowsOf(value.items, `${path}[].`)]
  })
}
