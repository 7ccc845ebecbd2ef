import { z } from 'zod'

const filePath = () => z.string().min(1).meta({ filePath: true })

/** TLS of a connection that the broker opens; `peer`: to whom. */
export const clientTls = (peer: string) =>
  z.strictObject({
    ca: filePath()
      .optional()
      .describe('PEM file with the CAs that are trusted; default: those of the system.'),
    cert: filePath().optional().describe(`PEM file with our certificate, where ${peer} asks for one.`),
    key: filePath().optional().describe('PEM file with its key.'),
    passphrase: z.string().min(1).meta({ secret: true }).optional().describe('Passphrase of the key.'),
    servername: z
      .string()
      .min(1)
      .optional()
      .describe('Name that the certificate must have; default: the host.'),
  })

export type ClientTls = z.output<ReturnType<typeof clientTls>>
