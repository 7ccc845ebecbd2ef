import { expectation } from './structure.ts'
import { createSchemaTree, type ObjectNode, type SchemaNode, type VariantNode } from './schema-tree.ts'

const INTRO = `# Configuration

<!-- Generated from src/config/schema.ts by \`npm run docs\`. -->

One YAML file, named with \`--config FILE\` or \`TUNNELMQ_CONFIG\`. Over it the environment, over both the command line:

| where | form | example |
|---|---|---|
| file | YAML | \`store: { path: /var/lib/tunnelmq }\` |
| environment | \`TUNNELMQ_<PATH>\`, words in capitals with \`_\` between | \`TUNNELMQ_STORE_PATH=/var/lib/tunnelmq\`, \`TUNNELMQ_LISTENERS_0_PORT=1884\` |
| environment, from a file | \`TUNNELMQ_<PATH>_FILE\`: the file holds the value | \`TUNNELMQ_LISTENERS_0_TLS_PASSPHRASE_FILE=/run/secrets/tls\` |
| command line | \`--set path=value\` | \`--set limits.maxPacketBytes=65536\` |

Lists in variables and flags are written \`a,b\` or \`[a, b]\`. Relative paths start from the folder of the
configuration file; those from variables, flags and defaults from the working directory.

Without a file: MQTT on 127.0.0.1:1883 and 127.0.0.1:8083/mqtt (WebSocket), for everyone on this machine. With a
file, clients without credentials are accepted only where \`allowAnonymous\` or a handler says so.

\`tunnelmq config check FILE\` names every mistake with line and column, \`tunnelmq config print\` shows what is in
force (secrets as \`***\`), and \`config/tunnelmq.schema.json\` lets editors complete and check the file:

\`\`\`yaml
# yaml-language-server: $schema=./tunnelmq.schema.json
\`\`\`
`

interface Row {
  readonly key: string
  readonly node: SchemaNode
  readonly isRequired: boolean
}

/** docs/configuration.md: every key with its type, default and description. */
export function configReference(): string {
  const root = createSchemaTree()
  const scalars = rowsOf(root).filter(({ node }) => node.kind !== 'list' && !isSection(node))
  const sections = [...root.properties].flatMap(([key, node]) => section(key, node))
  return [INTRO, ...sections, '## Others\n', table(scalars.filter(({ key }) => !key.includes('.')))].join(
    '\n',
  )
}

function section(key: string, node: SchemaNode): string[] {
  const heading = `## \`${key}\`\n\n${node.description}\n`
  if (node.kind === 'object') return [heading, table(rowsOf(node))]
  if (node.kind === 'list' && node.items.kind === 'variant')
    return [heading, ...variantSections(key, node.items)]
  return []
}

function variantSections(key: string, node: VariantNode): string[] {
  const variants = [...node.variants].map(([type, variant]) => ({ type, variant, rows: rowsOf(variant) }))
  const isCommon = (row: Row): boolean =>
    row.key !== 'type' && variants.every(({ rows }) => rows.some((other) => isSameRow(row, other)))
  const common = variants[0]?.rows.filter(isCommon) ?? []
  const own = variants.flatMap(({ type, variant, rows }) => {
    const rest = rows.filter((row) => row.key !== 'type' && !isCommon(row))
    return [
      `### \`${key}[].type: ${type}\`\n\n${variant.description}\n`,
      ...(rest.length > 0 ? [table(rest)] : []),
    ]
  })
  return common.length === 0 ? own : [...own, `### Every entry of \`${key}\`\n`, table(common)]
}

function rowsOf(node: ObjectNode, prefix = ''): Row[] {
  return [...node.properties].flatMap(([key, property]) =>
    isSection(property)
      ? rowsOf(property, `${prefix}${key}.`)
      : [{ key: prefix + key, node: property, isRequired: node.required.has(key) }],
  )
}

function isSection(node: SchemaNode): node is ObjectNode {
  return node.kind === 'object'
}

function isSameRow(a: Row, b: Row): boolean {
  return a.key === b.key && a.node.description === b.node.description
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ key, node, isRequired }) => {
    const cells = [`\`${key}\``, typeOf(node), isRequired ? 'required' : defaultOf(node), node.description]
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  })
  return ['| key | type | default | |', '|---|---|---|---|', ...lines, ''].join('\n')
}

function typeOf(node: SchemaNode): string {
  const secret = node.secret ? ' (secret)' : ''
  if (node.filePath) return `path${secret}`
  if (node.kind === 'text') return `text${secret}`
  if (node.kind === 'choice') return node.choices.map((choice) => `\`${choice}\``).join(', ')
  if (node.kind === 'list')
    return `list of ${node.items.kind === 'variant' ? 'handlers' : typeOf(node.items)}`
  return expectation(node).replace(/^an? /, '') + secret
}

function defaultOf(node: SchemaNode): string {
  return node.default === undefined ? 'none' : `\`${JSON.stringify(node.default)}\``
}
