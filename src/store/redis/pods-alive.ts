import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { buffersOf, type DirectRedis, listOf, numberOf, pairsOf } from './direct.ts'

/** Names of pods that have beaten within the lease, by Redis' own clock. */
export async function podsAlive(redis: DirectRedis, leaseMs: number): Promise<string[]> {
  const [time, beats] = await redis.commands([['time'], ['hgetall', redis.key('pods')]])
  const [seconds, micros] = listOf(time)
  const nowMs = numberOf(seconds) * 1_000 + Math.floor(numberOf(micros) / 1_000)
  return pairsOf(buffersOf(beats))
    .filter(([, beat]) => !(nowMs - numberOf(beat) > leaseMs))
    .map(([pod]) => pod.toString())
}

/** Throws TMQ_STORE while pods live: they would go on with what they know. */
export async function refuseWhilePodsLive(redis: DirectRedis, leaseMs: number): Promise<void> {
  const pods = await podsAlive(redis, leaseMs)
  if (pods.length === 0) return
  throw new TunnelMQError(
    ErrorCode.store,
    `${redis.name} is in use by ${pods.length} ${pods.length === 1 ? 'broker' : 'brokers'} (${pods.join(', ')}): stop them first; one that was killed counts for ${leaseMs / 1_000} s`,
  )
}
