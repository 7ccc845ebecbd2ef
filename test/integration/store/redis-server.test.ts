import { expect, it } from 'vitest'
import { startRedis } from '../../support/redis-server.ts'

it('the redis-server of the tests keeps its data over SIGKILL, and its port', async () => {
  const redis = await startRedis({ args: ['--appendfsync', 'always'] })
  try {
    expect(await redis.command('SET', 'a', 'b')).toBe('OK')
    await redis.kill()
    await redis.start()
    expect(await redis.command('GET', 'a')).toBe('b')
    redis.freeze()
    redis.thaw()
    await redis.flush()
    expect(await redis.command('GET', 'a')).toBeNull()
    await expect(redis.command('GET')).rejects.toThrow('wrong number of arguments')
    await redis.stop()
  } finally {
    await redis.remove()
  }
})
