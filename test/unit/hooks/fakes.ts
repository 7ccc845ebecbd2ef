import type { HandlerLog } from '../../../src/hooks/log.ts'
import type { PublishRequest, Session, SubscribeRequest } from '../../../src/hooks/types.ts'

export interface FakeSession extends Session {
  /** The connection is gone. */
  hangUp(): void
}

export function fakeSession(facts: { id?: string; username?: string; password?: string } = {}): FakeSession {
  const connection = new AbortController()
  return {
    id: facts.id ?? 'client-1',
    username: facts.username,
    password: facts.password === undefined ? undefined : Buffer.from(facts.password),
    will: undefined,
    clean: true,
    keepalive: 60,
    protocolVersion: 4,
    peer: {
      address: '192.0.2.1',
      port: 40_000,
      addressSource: 'socket',
      socketAddress: '192.0.2.1',
      listener: 'tcp-1883',
      transport: 'tcp',
    },
    connectedAtMs: 0,
    attributes: new Map(),
    signal: connection.signal,
    hangUp: () => connection.abort(),
  }
}

export function fakeMessage(topic: string): PublishRequest {
  return { topic, payload: Buffer.from('x'), retain: false, qos: 0, dup: false, isWill: false }
}

export function fakeSubscriptions(...topics: string[]): SubscribeRequest[] {
  return topics.map((topic) => ({ topic, qos: 1 }))
}

export interface FakeLog extends HandlerLog {
  readonly lines: { level: string; fields: object; message: string }[]
}

export function fakeLog(): FakeLog {
  const lines: FakeLog['lines'] = []
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, fields, message })
  return { lines, info: at('info'), warn: at('warn'), error: at('error') }
}
