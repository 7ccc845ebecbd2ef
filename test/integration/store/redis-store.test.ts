import { afterAll, beforeAll } from 'vitest'
import { startRedis, type RedisServer } from '../../support/redis-server.ts'
import { createRedisPod, newPrefix } from '../../support/redis-pods.ts'
import { describeStore } from '../../support/store-contract.ts'

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})

afterAll(async () => {
  await server.remove()
})

describeStore('redis', async () => {
  const keyPrefix = newPrefix()
  return {
    create(limits, now) {
      const pod = createRedisPod({ url: server.url, keyPrefix, limits, now })
      return { ...pod.store, open: () => pod.open() }
    },
    dispose: async () => {},
  }
})
