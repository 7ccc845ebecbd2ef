import type { Guard } from '../hooks/guard.ts'

/** What a listener's configuration means to the broker. */
export interface ListenerProfile {
  readonly name: string
  /** The listener's handler chain, with deadline and cap. */
  readonly guard: Guard
  readonly allowAnonymous: boolean
  /** 3: MQTT 3.1, 4: MQTT 3.1.1. */
  readonly protocolVersions: ReadonlySet<number>
  /** Prefix of every topic of its clients; may be empty. */
  readonly mountpoint: string
}
