/** What the near end is told to do, and what it answers: JSON on its command line and on its standard output. */

/** `up`: from the client's side to the agent's. */
export type Direction = 'up' | 'down'

/** As many bytes as go through, over one stream or many at once; beside them streams that are open and still. */
export interface BulkPlan {
  readonly kind: 'bulk'
  readonly direction: Direction
  readonly streamCount: number
  readonly idleStreamCount: number
  /** Of all streams together: bytes that are dropped from the figure, then bytes that count. */
  readonly warmupBytes: number
  readonly timedBytes: number
}

/** Bulk without end, until standard input ends: what a ping has beside it. */
export interface LoadPlan {
  readonly kind: 'load'
  readonly direction: Direction
}

/** One message there and back at a time. */
export interface PingPlan {
  readonly kind: 'ping'
  readonly warmupCount: number
  readonly count: number
  /** Ends earlier with fewer; a figure of some hundred is better than a bench of hours. */
  readonly mostMs: number
}

/** Connections one after the other: from connect() to the first byte that came back. */
export interface OpenPlan {
  readonly kind: 'open'
  readonly warmupCount: number
  readonly count: number
}

export type Plan = BulkPlan | LoadPlan | PingPlan | OpenPlan

/** The processes of a tunnel: what they cost is what the tunnel costs. */
export type Role = 'client' | 'broker' | 'agent' | 'hop' | 'server'

export interface TunnelProcess {
  readonly role: Role
  readonly pid: number
}

export interface Order {
  readonly plan: Plan
  /** Where the tunnel begins. */
  readonly port: number
  readonly processes: readonly TunnelProcess[]
}

/** Everything measured, each with its unit in its name. MB are 10^6 bytes. */
export type FigureName =
  | 'megabytesPerSecond'
  | 'cpuMsPerMb'
  | `${Role}CpuMsPerMb`
  | 'pingP50Us'
  | 'pingP99Us'
  | 'pingCount'
  | 'openP50Us'
  | 'openP99Us'
  | 'loadMegabytesPerSecond'
  /** Peak of a process less what was resident before the scenario. */
  | `${Role}GrowthMb`
export type Figures = Partial<Record<FigureName, number>>

/** What the far end needs to know of a stream that it sinks or feeds; the first line of the stream, behind its command. */
export interface BulkOrder {
  /** Streams of one group are counted together. */
  readonly group: string
  readonly warmupBytes: number
  readonly timedBytes: number
  readonly processes: readonly TunnelProcess[]
}

/** First byte of every stream. */
export const Command = { echo: 'E', sink: 'U', source: 'D' } as const
