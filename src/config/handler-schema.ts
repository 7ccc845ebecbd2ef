import { z } from 'zod'
import { certificateHandlerSchema } from './certificate-schema.ts'
import { jwtSchema } from './jwt-schema.ts'
import { webhookSchema } from './webhook-schema.ts'

const filePath = () => z.string().min(1).meta({ filePath: true })

/** The handlers that come with the broker, by `type`: docs/handlers.md. */
export const handlerSchema = z
  .discriminatedUnion('type', [
    z
      .strictObject({
        type: z.literal('anonymous'),
        allow: z.boolean().default(true).describe('Accept clients that send neither username nor password.'),
      })
      .describe('Clients without credentials: allowed with all rights, or refused.'),
    z
      .strictObject({
        type: z.literal('password-file'),
        file: filePath().describe(
          'mosquitto_passwd or vmq-passwd file, or one of `tunnelmq passwd`. Read again when it changes.',
        ),
      })
      .describe('User names and hashed passwords from a file.'),
    z
      .strictObject({
        type: z.literal('scram'),
        file: filePath().describe('File of `tunnelmq passwd --scram`. Read again when it changes.'),
        secretFile: filePath()
          .optional()
          .describe(
            'Secret of 16 bytes or more that salts of unknown users are made of, the same at all brokers. Default: they are made of `file`, and change with it.',
          ),
      })
      .describe('SCRAM-SHA-256 for clients of MQTT 5: user names and keys from a file.'),
    z
      .strictObject({
        type: z.literal('acl-file'),
        file: filePath().describe(
          'ACL file in the syntax of mosquitto and VerneMQ. Read again when it changes.',
        ),
        dialect: z
          .enum(['mosquitto', 'vernemq'])
          .default('mosquitto')
          .describe(
            'Rules before the first `user`: for clients without a name (mosquitto) or for all (vernemq).',
          ),
      })
      .describe('Who may publish and subscribe to what.'),
    certificateHandlerSchema,
    z
      .strictObject({ type: z.literal('dynamic') })
      .describe(
        'Identities, groups and roles in the store, managed by the API, the dashboard and `tunnelmq identity`.',
      ),
    z
      .strictObject({
        type: z.literal('module'),
        file: filePath().describe(
          'JavaScript module (ESM) that exports a Handler, or a function that makes one, as default.',
        ),
        options: z
          .record(z.string(), z.unknown())
          .default({})
          .meta({ secret: true })
          .describe('Handed to the function. Not printed, as they may hold secrets.'),
      })
      .describe('Your own handler.'),
    jwtSchema,
    webhookSchema,
  ])
  .describe('One handler of a chain.')
