import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { createRedisPod, newPrefix, type RedisPod, type RedisPodOptions } from './redis-pods.ts'
import { type RedisServer, startRedis } from './redis-server.ts'

export interface RedisPodsWorld {
  readonly server: RedisServer
  /** Another one for each test. */
  readonly prefix: string
  /** Closed after the test: for those that were not opened with `pod`. */
  readonly pods: RedisPod[]
  /** One more store on the data of this test, open. */
  readonly pod: (options?: Partial<RedisPodOptions>) => Promise<RedisPod>
}

/** One Redis for the tests of a file, and stores that share it. Called at the top of the file. */
export function useRedisPods(defaults: Partial<RedisPodOptions> = {}): RedisPodsWorld {
  let server: RedisServer
  let prefix = ''
  let pods: RedisPod[] = []
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.remove())
  beforeEach(() => {
    prefix = newPrefix()
    pods = []
  })
  afterEach(() => Promise.all(pods.map(({ store }) => store.close())))
  return {
    get server() {
      return server
    },
    get prefix() {
      return prefix
    },
    get pods() {
      return pods
    },
    async pod(options = {}) {
      const one = createRedisPod({ url: server.url, keyPrefix: prefix, ...defaults, ...options })
      await one.open()
      pods.push(one)
      return one
    },
  }
}
