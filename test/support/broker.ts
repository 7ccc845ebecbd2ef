import { configSchema, type ConfigInput } from '../../src/config/schema.ts'
import type { InterceptorEntry } from '../../src/hooks/interceptor.ts'
import type { Handler } from '../../src/hooks/types.ts'
import { createLog, type Log } from '../../src/log.ts'
import { startBroker, type RunningBroker } from '../../src/main.ts'

export interface TestBroker extends RunningBroker {
  /** Of the first TCP listener. */
  readonly port: number
  readonly url: string
  /** Log events, parsed. */
  readonly events: Record<string, unknown>[]
}

type Overrides = Omit<ConfigInput, 'listeners'> & { listeners?: ConfigInput['listeners'] }

/** A broker on free loopback ports, open to anonymous clients, with the memory store unless told otherwise. */
export async function startTestBroker(
  overrides: Overrides = {},
  options: { handlers?: readonly Handler[]; interceptors?: readonly InterceptorEntry[] } = {},
): Promise<TestBroker> {
  const config = configSchema.parse({
    listeners: [{ type: 'tcp', port: 0, allowAnonymous: options.handlers === undefined }],
    store: { type: 'memory' },
    sysIntervalMs: 0,
    shutdown: { drainMs: 0 },
    ...overrides,
    // Its file is for commands on the machine; here it would be that of all brokers of a run.
    admin: { localKey: false, ...(overrides.admin ?? { enabled: false }) },
  })
  const events: Record<string, unknown>[] = []
  const log: Log = createLog(
    { level: 'debug', format: 'json' },
    { write: (line: string) => void events.push(JSON.parse(line) as Record<string, unknown>) },
  )
  const broker = await startBroker({ config, log, ...options })
  const url = broker.listeners.find((listener) => listener.url.startsWith('mqtt'))!.url
  return Object.assign(Object.create(null) as object, broker, {
    port: Number(new URL(url).port),
    url,
    events,
  })
}
