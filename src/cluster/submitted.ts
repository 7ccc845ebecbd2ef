import type { Op, ScriptArgument, ScriptReply, Writer } from '../store/redis/contract.ts'

/** Beside its arguments, for what an op weighs while it waits. */
const OP_BYTES = 100

/** An op as a promise. Rejects with TMQ_STORE_UNAVAILABLE as its patience says. */
export function submitted(
  writer: Writer,
  name: string,
  args: readonly ScriptArgument[],
  how: Pick<Op, 'patience' | 'frees'>,
): Promise<ScriptReply> {
  let bytes = OP_BYTES
  for (const argument of args) bytes += typeof argument === 'number' ? 8 : argument.length
  return new Promise((resolve, reject) => {
    writer.submit({
      name,
      args,
      bytes,
      ...how,
      settle: (error, reply) => (error === undefined ? resolve(reply ?? null) : reject(error)),
    })
  })
}
