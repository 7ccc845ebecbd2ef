import { ErrorCode, TunnelMQError } from '../errors.ts'

/** A pod that asks itself: the same deadline, no way between. */
export async function answerOfSelf(answer: () => Promise<Buffer>, timeoutMs: number): Promise<Buffer> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new TunnelMQError(ErrorCode.timeout, `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
  })
  try {
    return await Promise.race([answer(), late])
  } finally {
    clearTimeout(timer)
  }
}
