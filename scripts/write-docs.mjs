// Run by `npm run docs`, after a build: writes what is generated from the schema and the list of metrics.
// test/docs.test.ts fails when it was forgotten.
import { writeFileSync } from 'node:fs'
import { metricReference } from '../dist/admin/metric-reference.js'
import { configExample } from '../dist/config/example.js'
import { configSchemaText } from '../dist/config/json-schema.js'
import { configReference } from '../dist/config/reference.js'

const generated = {
  'docs/configuration.md': configReference,
  'docs/metrics.md': metricReference,
  'config/tunnelmq.schema.json': configSchemaText,
  'config/tunnelmq.example.yaml': configExample,
}
for (const [file, text] of Object.entries(generated)) {
  writeFileSync(new URL(`../${file}`, import.meta.url), text())
  process.stdout.write(`${file}\n`)
}
