import { connect, createServer, type Socket } from 'node:net'

/**
 * The yardstick: one hop of a plain TCP relay, as one writes it in Node without a thought. Arguments are pairs
 * `listen=target` of loopback ports.
 */

for (const pair of process.argv.slice(2)) {
  const [from, to] = pair.split('=').map(Number)
  createServer({ noDelay: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port: to ?? 0, noDelay: true })
    couple(near, far)
    couple(far, near)
  }).listen({ port: from, host: '127.0.0.1', backlog: 1024 })
}

function couple(from: Socket, to: Socket): void {
  from.pipe(to)
  from.on('error', () => to.destroy())
  from.once('close', () => to.destroy())
}
