/**
 * A process of its own that publishes to one session until it is killed, and prints the number of each message
 * when, and only when, the store has said that it is safe. With an argument: stops at the first failure.
 */
import { writeSync } from 'node:fs'
import { createSilentLog } from '../../src/log.ts'
import { createEmbeddedStore } from '../../src/store/embedded/store.ts'
import { message, testLimits, to } from './store-fixtures.ts'

const [path = '', firstText = '1', mode = 'run', payloadBytes = '100'] = process.argv.slice(2)
const limits = { ...testLimits, queueMaxMessages: 1e9, queueMaxBytes: 1e12 }
const store = createEmbeddedStore({
  path,
  sync: true,
  cacheBytes: 1_000_000,
  limits,
  log: createSilentLog(),
  retryMs: 20,
})
await store.open()
const session = await store.createSession('client', 'client')
const filler = 'x'.repeat(Number(payloadBytes))
let next = Number(firstText)
let failed = false

function publishOne(): void {
  const number = next++
  store.publish(
    { message: message('a', `${number} ${filler}`), targets: to(session), retain: false },
    (error) => {
      if (error === undefined) {
        writeSync(1, `${failed ? 'again' : 'safe'} ${number}\n`)
        if (failed) process.exit(0)
        setImmediate(publishOne)
      } else {
        if (!failed) writeSync(1, `failed ${error.message}\n`)
        failed = true
        if (mode === 'recover') setTimeout(publishOne, 20)
      }
    },
  )
}

process.on('SIGXFSZ', () => {})
for (let i = 0; i < 20; i++) publishOne()
