import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** What Redis says, and what an operator understands. The kind is the first word of its answer. */
const words: Readonly<Record<string, string>> = {
  OOM: 'Redis is out of memory',
  READONLY: 'Redis is a replica, and takes no writes',
  LOADING: 'Redis is loading its data',
  MASTERDOWN: 'Redis is a replica that has lost its primary',
  NOREPLICAS: 'Redis takes no writes, as it has too few replicas (min-replicas-to-write)',
  MISCONF: 'Redis cannot write to its disk, and takes no writes',
  BUSY: 'Redis is busy with a script',
  CLUSTERDOWN: 'Redis Cluster is down',
  MOVED: 'This Redis is a node of a Redis Cluster, which is not supported',
  NOAUTH: 'Redis wants a password',
  WRONGPASS: 'Redis does not accept this user and password',
  NOPERM: 'This Redis user has no right to do that',
}

/** Waiting does not mend these. */
const lasting = new Set(['NOAUTH', 'WRONGPASS', 'NOPERM', 'MOVED'])

/** Redis has answered a command with an error: nothing was executed. */
export class Refusal extends TunnelMQError {
  /** First word of the answer, such as `OOM`. */
  readonly kind: string

  constructor(answer: string) {
    const kind = /^[A-Z]+/.exec(answer)?.[0] ?? 'ERR'
    const isKnown = kind in words && !lasting.has(kind)
    const text = words[kind]
    super(
      isKnown ? ErrorCode.storeUnavailable : ErrorCode.store,
      text === undefined ? `Redis refuses: ${answer}` : `${text} (${answer})`,
    )
    this.kind = kind
  }

  /** For `/ready`. */
  get reason(): string {
    return words[this.kind] ?? this.message
  }
}

export function unavailable(reason: string, cause?: unknown): TunnelMQError {
  return new TunnelMQError(ErrorCode.storeUnavailable, reason, cause === undefined ? undefined : { cause })
}

/** In one line, for `failure` and logs. */
export function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.reason
  return error instanceof Error ? error.message : String(error)
}
