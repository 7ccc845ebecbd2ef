import { z } from 'zod'
import { timerMs } from './duration-schema.ts'

const positive = z.int().min(1)

/** Of a `coap` listener: RFC 7252, 7641 and 7959. */
export const coapSchema = z
  .strictObject({
    pathPrefix: z
      .string()
      .regex(/^$|^(?:\/[^/?#]+)+$/, 'is to begin with / and not to end in one, such as /mqtt; or to be empty')
      .default('/mqtt')
      .describe(
        'Path before the topic: `/mqtt` makes `coap://host/mqtt/a/b` of `a/b`. Empty: the whole path is the topic, as mGate has it.',
      ),
    maxPayloadBytes: positive
      .max(1_073_741_824) // 2^20 blocks of 1024 bytes: RFC 7959, 2.2
      .default(65_536)
      .describe('Largest payload that is taken, in one message or block by block. Larger: 4.13.'),
    idleTimeoutMs: timerMs()
      .default(60_000)
      .describe(
        'An address, port and credentials without requests and observations for so long are disconnected from the broker.',
      ),
    addressCheck: z
      .enum(['ping', 'echo', 'off'])
      .default('ping')
      .describe(
        'What a sender has to show before it gets more than three times what it has sent, or notifications: that its address is not forged. `ping`: it answers an empty message, as every client does. `echo`: it repeats the request with an Echo option (RFC 9175), which not every client can. `off`: nothing.',
      ),
    maxUncheckedClients: positive
      .default(1_024)
      .describe(
        'Clients whose address was not checked. If there are more, the next ones are checked as well, and of those who do not pass the one that came first is disconnected. Without meaning with `addressCheck: off`.',
      ),
    datagramsPerSecondPerAddress: z
      .int()
      .min(0)
      .default(200)
      .describe('More than that are dropped without an answer; 0: no limit.'),
    maxRequests: positive
      .default(1_024)
      .describe(
        'Requests that are worked on at once. More: 5.03. One address has at most an eighth of them; more: 4.29.',
      ),
    maxRememberedMessages: positive
      .default(16_384)
      .describe(
        'Messages of the last 247 s that are known again when they are repeated, about 300 bytes each. If there are more, the oldest are forgotten.',
      ),
    maxObservationsPerClient: positive
      .default(32)
      .describe('Topics and filters that one client observes at once. More: 4.29.'),
    maxQueuedNotifications: positive
      .default(32)
      .describe(
        'Topics of one observation whose newest message waits for a slow observer. If there are more, the oldest is skipped.',
      ),
    confirmableIntervalMs: timerMs()
      .default(60_000)
      .describe(
        'At least so often an observer has to answer; if it does not (for about 31 x `ackTimeoutMs`), its observations end.',
      ),
    ackTimeoutMs: positive
      .max(60_000)
      .default(2_000)
      .describe(
        'Until a confirmable message is sent again for the first time; then twice as long, four times.',
      ),
    maxTransfers: positive
      .default(64)
      .describe(
        'Block-wise uploads that are not complete, and downloads, at once. Memory: twice this x `maxPayloadBytes` at most.',
      ),
    transferTimeoutMs: timerMs()
      .default(30_000)
      .describe('A block-wise transfer without another block for so long is forgotten.'),
  })
  .describe('CoAP settings.')

export type CoapConfig = z.output<typeof coapSchema>
