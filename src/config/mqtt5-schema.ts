import { z } from 'zod'

/** The part `mqtt5` of the configuration: what clients of MQTT 5 are told and may use; see schema.ts for its rules. */

/** A topic alias is two bytes (MQTT 5, 3.3.2.3.4). */
const aliases = z.int().min(0).max(65_535)

export const mqtt5Schema = z
  .strictObject({
    maxIncomingTopicAliases: aliases
      .default(32)
      .describe('Topic aliases that one client may use; each costs memory for one topic. 0: none.'),
    maxOutgoingTopicAliases: aliases
      .default(32)
      .describe('Topic aliases that are used towards one client, if it takes as many. 0: none.'),
    maxPropertyBytes: z
      .int()
      .min(1_024)
      .default(65_536)
      .describe('Bytes of the properties of one packet. More end the connection (quota exceeded).'),
    maxUserProperties: z
      .int()
      .min(0)
      .default(100)
      .describe('User properties in one packet. More end the connection (quota exceeded).'),
    checkPayloadFormat: z
      .boolean()
      .default(true)
      .describe(
        'A message that says it is UTF-8 text, and is not, is refused (payload format invalid). Others are not looked at.',
      ),
    serverReference: z
      .string()
      .max(1_024)
      .regex(/^\P{Cc}*$/u, 'is to be without control characters') // [MQTT-1.5.4-2]
      .default('')
      .describe(
        'Told to clients that are sent away by a drain or a stop, with "use another server": such as `mqtt-b.example.com:8883`, several with a space between. Empty: nothing.',
      ),
    responseInformation: z
      .string()
      .max(1_024)
      .regex(
        /^(?:[^{}+#\p{Cc}]|\{clientId\}|\{username\})*$/u,
        'is to be the beginning of a topic, with {clientId} and {username} where those of the client belong',
      )
      .default('')
      .describe(
        'Told to clients that ask for it: what the topics for their responses begin with, such as `replies/{clientId}/`. Also `{username}`; without one, nothing is told. Empty: nothing. Whether they may use these topics the handlers decide.',
      ),
  })
  .describe('What clients of MQTT 5 are told, and may use. Bounds are per client or packet.')
