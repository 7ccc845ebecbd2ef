import { describe, expect, it } from 'vitest'
import { configSchema } from '../../../src/config/schema.ts'
import { printConfig } from '../../../src/config/print.ts'

describe('printConfig', () => {
  it('shows every value, and no secret', () => {
    const config = configSchema.parse({
      listeners: [{ type: 'tls', port: 8883, tls: { cert: 'c.pem', key: 'k.pem', passphrase: 's3cret' } }],
      handlers: [{ type: 'module', file: 'h.js', options: { url: 'https://x', apiKey: 's3cret' } }],
    })
    const text = printConfig(config)
    expect(text).toContain('cert: c.pem')
    expect(text).toContain('passphrase: "***"')
    expect(text).toContain('apiKey: "***"')
    expect(text).toContain('maxPacketBytes: 1048576')
    expect(text).not.toContain('s3cret')
  })

  it('shows where a URL leads, and nothing in it that lets somebody in', () => {
    const shown = (endpoint: string): string | undefined =>
      /endpoint: (.*)/.exec(printConfig(configSchema.parse({ tracing: { endpoint } })))?.[1]
    expect(shown('http://127.0.0.1:4318/v1/traces')).toBe('http://127.0.0.1:4318/v1/traces')
    expect(shown('https://s3cret@otel.example/v1?api_key=s3cret')).toBe('https://***@otel.example/v1?***')
    expect(shown('https://user:s3cret@otel.example/v1')).toBe('https://user:***@otel.example/v1')
  })
})
