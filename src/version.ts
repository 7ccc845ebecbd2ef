import { readFileSync } from 'node:fs'

/** The version of the package; the file stands at the same distance from src/ and from dist/. */
export const version = readVersion()

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return String((JSON.parse(text) as { version?: unknown }).version)
}
