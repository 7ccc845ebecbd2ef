import type { ChildProcess } from 'node:child_process'
import type { Command } from '../children.ts'
import type { Role } from './plan.ts'

/** What each tunnel is to the bench. */

export type ReferenceName = 'relay-2' | 'relay-3' | 'ssh' | 'mqtt-forward'
export type OursName = 'tcp' | 'tls' | 'ws' | 'mosquitto' | 'listen'
export type ContenderName = ReferenceName | OursName

export interface Contender {
  readonly name: ContenderName
  /** One line about what it is, for the report. */
  readonly settings: string
  /** Its version, or undefined where it is not installed. */
  findVersion(): string | undefined
  /** Starts all its processes; whether they are ready is found out at the entries. */
  start(site: Site): Promise<Entries>
}

/** Two ways through the same processes and the same connections, so that one can be busy. */
export interface Entries {
  readonly bulkPort: number
  readonly pingPort: number
}

/** Where a contender is set up for one round. */
export interface Site {
  /** An empty folder, for keys, configuration and logs. */
  readonly folder: string
  /** Where bulk and where pings come out: two processes of the far end. */
  readonly bulkTarget: number
  readonly pingTarget: number
  /** What a Node process of ours gets as options, such as those of the profiler. */
  readonly nodeOptions: readonly string[]
  /** Starts a process that ends with the tunnel. Its output goes to `<name>.log` in the folder. */
  readonly start: (role: Role, name: string, command: Command) => ChildProcess
}
