import { connect } from 'node:net'

export type RedisAnswer = string | number | null | RedisAnswer[]

/** One command on a connection of its own, without the library that is under test. */
export function redisCall(
  port: number,
  args: readonly (string | number | Buffer)[],
  timeoutMs = 10_000,
): Promise<RedisAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let received = Buffer.alloc(0)
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('Redis does not answer')))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('Redis has closed the connection')))
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      const answer = parse(received, 0)
      if (answer === undefined) return
      socket.destroy()
      if (answer.value instanceof Error) reject(answer.value)
      else resolve(answer.value)
    })
    const parts = args.map((arg) => (Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg))))
    socket.write(`*${parts.length}\r\n`)
    for (const part of parts)
      socket.write(Buffer.concat([Buffer.from(`$${part.length}\r\n`), part, Buffer.from('\r\n')]))
  })
}

/** Undefined: not all of it is there yet. */
function parse(bytes: Buffer, at: number): { value: RedisAnswer | Error; end: number } | undefined {
  const lineEnd = bytes.indexOf('\r\n', at)
  if (lineEnd < 0) return undefined
  const line = bytes.toString('utf8', at + 1, lineEnd)
  const next = lineEnd + 2
  switch (String.fromCharCode(bytes[at] ?? 0)) {
    case '+':
      return { value: line, end: next }
    case '-':
      return { value: new Error(line), end: next }
    case ':':
      return { value: Number(line), end: next }
    case '$': {
      const length = Number(line)
      if (length < 0) return { value: null, end: next }
      if (bytes.length < next + length + 2) return undefined
      return { value: bytes.toString('utf8', next, next + length), end: next + length + 2 }
    }
    case '*': {
      const items: RedisAnswer[] = []
      let end = next
      for (let count = Number(line); count > 0; count--) {
        const item = parse(bytes, end)
        if (item === undefined) return undefined
        items.push(item.value instanceof Error ? item.value.message : item.value)
        end = item.end
      }
      return { value: Number(line) < 0 ? null : items, end }
    }
    default:
      return { value: new Error(`not Redis: ${line}`), end: next }
  }
}
