import { configJsonSchema } from './schema.ts'

/** config/tunnelmq.schema.json: for editors, and for whoever checks a configuration without us. */
export function configSchemaText(): string {
  return `${JSON.stringify(configJsonSchema(), withoutOurMarks, 2)}\n`
}

const marks = new Set(['secret', 'secretUrl', 'filePath'])

// Strict validators refuse keywords that they do not know.
function withoutOurMarks(key: string, value: unknown): unknown {
  const isMark = marks.has(key) && typeof value === 'boolean'
  return isMark ? undefined : value
}
