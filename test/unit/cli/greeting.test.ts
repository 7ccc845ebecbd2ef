import { describe, expect, it } from 'vitest'
import { greeting } from '../../../src/cli/greeting.ts'
import { configSchema } from '../../../src/config/schema.ts'
import type { RunningBroker } from '../../../src/main.ts'

describe('the greeting', () => {
  it('names the ports that lead into tunnels, as they were bound', () => {
    const broker = {
      listeners: [{ name: 'tcp-1883', url: 'mqtt://127.0.0.1:1883' }],
      adminUrl: undefined,
      tunnelPorts: [
        { bind: '0.0.0.0:2222', port: 2222, to: 'pi7/ssh' },
        { bind: '[::1]:0', port: 40_001, to: 'broker/web' },
      ],
    } as const satisfies Partial<RunningBroker>
    const lines = greeting(configSchema.parse({}), broker as unknown as RunningBroker).split('\n')
    expect(lines.filter((line) => line.includes('tunnel:'))).toEqual([
      '  tunnel: 0.0.0.0:2222 to pi7/ssh',
      '  tunnel: [::1]:40001 to broker/web',
    ])
  })

  it.each([
    [{ type: 'embedded', path: '/data' }, '/data'],
    [{ type: 'memory' }, 'in memory, gone with the process'],
    [{ type: 'redis', redis: { url: 'redis://pods:geheim@redis:6379/1' } }, 'redis://pods:***@redis:6379/1'],
  ] as const)('says where the store is: %j', (store, words) => {
    const broker = {
      listeners: [],
      adminUrl: undefined,
      tunnelPorts: [],
    } as const satisfies Partial<RunningBroker>
    const text = greeting(configSchema.parse({ store }), broker as unknown as RunningBroker)
    expect(text).toContain(`  store: ${words}\n`)
  })
})
