import { basename } from 'node:path'
import type { ListenerConfig } from './schema.ts'

/** The name of a listener in logs and metrics: its own, or made of type and port (`tcp-1883`). */
export function listenerName(listener: ListenerConfig): string {
  if (listener.name !== undefined) return listener.name
  if (listener.type !== 'unix') return `${listener.type}-${listener.port}`
  return `unix-${basename(listener.path).replaceAll(/[^A-Za-z0-9._-]/g, '_')}`.slice(0, 64)
}
