import { createServer } from 'node:net'
import { Aedes, type AedesOptions } from 'aedes'
import createPersistence from 'aedes-persistence-redis'
import createEmitter from 'mqemitter-redis'

/** Aedes with its own packages for Redis, as their READMEs start it: loopback ports of the broker and of Redis. */

const [port = 0, redisPort = 0] = process.argv.slice(2).map(Number)
const redis = { host: '127.0.0.1', port: redisPort }
const options: AedesOptions = { persistence: createPersistence(redis), mq: createEmitter(redis) }
const aedes = await Aedes.createBroker(options)
const server = createServer({ noDelay: true }, (socket) => {
  aedes.handle(socket)
})
server.listen(port, '127.0.0.1')
