import { createServer } from 'node:net'
import { Aedes } from 'aedes'

/** Aedes as its README starts it, on the loopback port that its first argument names. */

const aedes = await Aedes.createBroker()
const server = createServer({ noDelay: true }, (socket) => {
  aedes.handle(socket)
})
server.listen(Number(process.argv[2]), '127.0.0.1')
