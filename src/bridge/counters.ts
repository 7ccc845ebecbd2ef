/** Why a message did not cross: a label of tunnelmq_bridge_messages_dropped_total, so the list is closed. */
export const bridgeDropReasons = [
  /** QoS 0, and the other broker is away. */
  'away',
  /** The other broker has said no to it. */
  'refused',
  /** Larger than one of the two brokers takes. */
  'too-large',
  /** No topic map leads on from there; or a topic that cannot be published here, or not safely there. */
  'topic',
  /** Its time was over before the other broker was there (MQTT 5). */
  'expired',
] as const
export type BridgeDropReason = (typeof bridgeDropReasons)[number]

/** How an attempt or a connection to the other broker ended: a label of tunnelmq_bridge_failures_total. */
export const bridgeFailureKinds = [
  /** User, password or client id are not taken. */
  'credentials',
  /** Its CONNACK said no for another reason. */
  'refused',
  /** It does not speak this version of MQTT. */
  'version',
  /** No connection: network, name, TLS, or no answer in time. */
  'unreachable',
  /** The connection stood, and is gone. */
  'lost',
  /** A file of ours cannot be read. */
  'file',
] as const
export type BridgeFailureKind = (typeof bridgeFailureKinds)[number]

/** What one bridge counts, as plain numbers that only grow. */
export interface BridgeCounters {
  /** Messages that crossed, by QoS: taken over by the side that they went to. */
  readonly in: [number, number, number]
  readonly out: [number, number, number]
  readonly dropped: Record<BridgeDropReason, number>
  /** Times that it was connected. */
  connects: number
  readonly failures: Record<BridgeFailureKind, number>
}

export function createBridgeCounters(): BridgeCounters {
  return {
    in: [0, 0, 0],
    out: [0, 0, 0],
    dropped: { away: 0, refused: 0, 'too-large': 0, topic: 0, expired: 0 },
    connects: 0,
    failures: { credentials: 0, refused: 0, version: 0, unreachable: 0, lost: 0, file: 0 },
  }
}
