import { expect, it } from 'vitest'
import { configSchema, type ConfigInput } from '../../../src/config/schema.ts'
import { checkMeaning } from '../../../src/config/semantics.ts'

function warningsOf(admin: ConfigInput['admin']): string[] {
  return checkMeaning(configSchema.parse({ admin }))
    .warnings.filter(({ path }) => path[0] === 'admin')
    .map(({ message }) => message)
}

it('warns of API keys that cross a network in clear text', () => {
  expect(warningsOf({ host: '0.0.0.0' })).toEqual([
    'API keys cross the network in clear text to 0.0.0.0:8080: set admin.tls, admin.api: false, or put a proxy with TLS in front',
  ])
  const tls = { cert: 'a', key: 'b' }
  const quiet = [
    { host: '127.0.0.1' },
    { host: '::', tls },
    { host: '::', api: false },
    { host: '::', enabled: false },
  ]
  expect(quiet.flatMap(warningsOf)).toEqual([])
})
