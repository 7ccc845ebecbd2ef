import { randomBytes } from 'node:crypto'
import type { AgentDirectory, Knowledge } from '../directory.ts'
import type { Link } from '../link/link.ts'
import { openError } from '../open-failure.ts'
import type { OpenSource } from '../protocol/open-payload.ts'
import { ResetCode } from '../protocol/reset-code.ts'
import { TunnelError } from '../tunnel-error.ts'
import type { Channel, ChannelOwner } from './channel.ts'
import type { Destination } from './checked-name.ts'
import type { Endpoint } from './endpoint.ts'

export interface OpenerParts {
  readonly link: Link
  readonly endpoint: Endpoint
  readonly directory: AgentDirectory
  /** Streams that may be on their way to be opened at once. */
  readonly maxOpening: number
}

/** How a stream ended before it was open. */
export interface OpenEnd {
  readonly code: ResetCode
  readonly reason: string
  readonly by: 'peer' | 'us'
}

/** One stream on its way to be opened. */
export interface Attempt {
  /** It is open, or never will be: for the count of those on their way. */
  over(): void
  /** In words; waits a moment for the status of the agent where that has something to say. Never rejects. */
  explain(end: OpenEnd): Promise<TunnelError>
}

/** docs/tunnel-protocol.md 5.1 */
const TOKEN_BYTES = 8

/**
 * Opens streams. Over a broker that does not answer an OPEN to an agent that is away, what the status of the agent says is
 * asked for at the same time, so that nobody waits for it; when it says that there is no such agent, that ends the attempt
 * at once. A broker that answers knows better: an agent is there before its status is.
 */
export class Opener {
  readonly #parts: OpenerParts
  #openingCount = 0

  constructor(parts: OpenerParts) {
    this.#parts = parts
  }

  /**
   * The owner has the stream from its OPEN on, and may write at once.
   * @throws {TunnelError} when it is known already that it cannot be opened.
   */
  start(
    to: Destination,
    source: OpenSource | undefined,
    own: (channel: Channel, attempt: Attempt) => ChannelOwner,
  ): Channel {
    const { link, endpoint, directory, maxOpening } = this.#parts
    const known = link.isUp && !link.isAnswered ? directory.known(to.agent) : undefined
    if (isGone(known)) throw this.#error(to, known, offline)
    if (this.#openingCount >= maxOpening)
      throw this.#error(to, known, tooMany(`${maxOpening} are being opened`))
    const payload = { token: randomBytes(TOKEN_BYTES).toString('hex'), ...(source && { source }) }
    let channel: Channel
    try {
      channel = endpoint.open(link.route(to.agent, to.service, link.name), payload)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw this.#error(to, known, tooMany(error.message))
    }
    channel.owner = own(channel, this.#attempt(to))
    if (known === undefined && !link.isAnswered) void this.#endWhenGone(to, channel)
    return channel
  }

  #attempt(to: Destination): Attempt {
    let isOpening = true
    this.#openingCount++
    return {
      over: () => {
        if (isOpening) this.#openingCount--
        isOpening = false
      },
      explain: async (end) => {
        const { directory } = this.#parts
        const isAboutAgent = end.code === ResetCode.agentOffline || end.code === ResetCode.unknownService
        return this.#error(to, isAboutAgent ? await directory.lookUp(to.agent) : undefined, end)
      },
    }
  }

  async #endWhenGone(to: Destination, channel: Channel): Promise<void> {
    if (isGone(await this.#parts.directory.lookUp(to.agent)) && channel.stream.phase === 'opening')
      channel.fail(offline.code, offline.reason)
  }

  #error(to: Destination, knowledge: Knowledge | undefined, { code, reason, by }: OpenEnd): TunnelError {
    const { link, directory } = this.#parts
    return openError({
      to,
      code,
      reason,
      by,
      agent: directory.get(to.agent),
      isAbsent: knowledge?.kind === 'absent',
      isConnected: link.isUp,
    })
  }
}

const offline: OpenEnd = { code: ResetCode.agentOffline, reason: 'by its status', by: 'us' }
const tooMany = (reason: string): OpenEnd => ({ code: ResetCode.limit, reason, by: 'us' })

function isGone(knowledge: Knowledge | undefined): boolean {
  return knowledge?.kind === 'absent' || (knowledge?.kind === 'known' && !knowledge.info.online)
}
