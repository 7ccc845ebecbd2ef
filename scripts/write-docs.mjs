// Run by `npm run docs`, after a build: writes what is generated from the schema, the list of metrics and the values of
// the chart.
// test/docs.test.ts fails when it was forgotten.
import { writeFileSync } from 'node:fs'
import { metricReference } from '../dist/admin/metric-reference.js'
import { configExample } from '../dist/config/example.js'
import { configSchemaText } from '../dist/config/json-schema.js'
import { configReference } from '../dist/config/reference.js'
import { configJsonSchema } from '../dist/config/schema.js'
import { chartFiles } from './chart/files.mjs'

const generated = {
  'docs/configuration.md': configReference,
  'docs/metrics.md': metricReference,
  'config/tunnelmq.schema.json': configSchemaText,
  'config/tunnelmq.example.yaml': configExample,
}
const texts = Object.entries(generated).map(([file, text]) => [file, text()])
for (const [file, text] of [...texts, ...Object.entries(chartFiles(configJsonSchema()))]) {
  writeFileSync(new URL(`../${file}`, import.meta.url), text)
  process.stdout.write(`${file}\n`)
}
