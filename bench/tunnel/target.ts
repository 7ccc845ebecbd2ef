import { createServer, type Socket } from 'node:net'
import { feed, GroupMeter, StreamCheck } from './bulk.ts'
import { type BulkOrder, Command } from './plan.ts'

/**
 * The far end's process: a TCP server on the port of the first argument, where all tunnels lead to. The first byte of
 * a connection says what it shall do; sink and source then read one line of JSON.
 */

const NEWLINE = 0x0a

const groups = new Map<string, GroupMeter>()

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy())
  socket.once('data', (bytes: Buffer) => {
    const rest = bytes.subarray(1)
    switch (bytes.toString('latin1', 0, 1)) {
      case Command.echo:
        return echo(socket, rest)
      case Command.sink:
        return readOrder(socket, rest, (order, first) => sink(socket, order, first))
      case Command.source:
        return readOrder(socket, rest, () => feed(socket))
      default:
        return socket.destroy()
    }
  })
})
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 1024 })

function echo(socket: Socket, first: Buffer): void {
  if (first.length > 0) socket.write(first)
  socket.on('data', (bytes: Buffer) => socket.write(bytes))
}

/** Ends with one line: the figures, or what was wrong with the bytes. */
function sink(socket: Socket, order: BulkOrder, first: Buffer): void {
  const meter = groups.get(order.group) ?? new GroupMeter(order)
  groups.set(order.group, meter)
  const check = new StreamCheck()
  const take = (bytes: Buffer): void => {
    try {
      check.take(bytes)
      const figures = meter.add(bytes.length)
      if (figures !== undefined) socket.write(`${JSON.stringify(figures)}\n`)
    } catch (error) {
      socket.off('data', take)
      socket.resume()
      socket.write(`${JSON.stringify({ error: String(error) })}\n`)
    }
  }
  socket.on('data', take)
  socket.once('close', () => groups.delete(order.group))
  take(first)
}

function readOrder(
  socket: Socket,
  first: Buffer,
  then: (order: BulkOrder, rest: Buffer) => void,
  end = first.indexOf(NEWLINE),
): void {
  if (end < 0) {
    socket.once('data', (more: Buffer) => readOrder(socket, Buffer.concat([first, more]), then))
    return
  }
  // Written by driver.ts of the same build.
  then(JSON.parse(first.toString('utf8', 0, end)) as BulkOrder, first.subarray(end + 1))
}
