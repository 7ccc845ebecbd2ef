import { createServer } from 'node:net'

/** Aedes as its README starts it, on the loopback port that its first argument names; another Aedes is its second. */

const { Aedes } = (await import(process.argv[3] ?? 'aedes')) as typeof import('aedes')
const aedes = await Aedes.createBroker()
const server = createServer({ noDelay: true }, (socket) => {
  aedes.handle(socket)
})
server.listen(Number(process.argv[2]), '127.0.0.1')
