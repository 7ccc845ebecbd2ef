import { z } from 'zod'

/** An interceptor of a listener: docs/interceptors.md. */
export const interceptorSchema = z
  .strictObject({
    file: z
      .string()
      .min(1)
      .meta({ filePath: true })
      .describe(
        'JavaScript module (ESM) that exports an Interceptor, or a function that makes one, as default.',
      ),
    at: z
      .enum(['before', 'after'])
      .default('before')
      .describe(
        'It sees packets before the handlers are asked, or after they have allowed and rewritten them.',
      ),
    options: z
      .record(z.string(), z.unknown())
      .default({})
      .meta({ secret: true })
      .describe('Handed to the function. Not printed, as they may hold secrets.'),
  })
  .describe('Your own look at each packet, both ways.')
