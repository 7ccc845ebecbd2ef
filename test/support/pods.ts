import { onTestFailed, onTestFinished } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import { type BrokerProcess, createBrokerProcess, type ProcessOptions } from './broker-process.ts'
import { type RedisServer, type RedisServerOptions, startRedis } from './redis-server.ts'

type PodConfig = Partial<Omit<ConfigInput, 'listeners'>>

export interface PodsOptions {
  readonly redis?: RedisServerOptions
  /** Over the defaults: leases of 2 s, so that tests do not only wait for them, and long queues. */
  readonly config?: PodConfig
  readonly listener?: ProcessOptions['listener']
  readonly nodeArguments?: readonly string[]
  /** Beside the URL, such as `sentinel`. */
  readonly storeRedis?: Readonly<Record<string, unknown>>
  /** The way of one pod to Redis, where that is not the straight one. */
  readonly redisPort?: (pod: number, port: number) => Promise<number>
}

/** Brokers, each a process with a port, folder and admin of its own, on one real Redis. */
export interface Pods {
  readonly redis: RedisServer
  readonly all: readonly BrokerProcess[]
  readonly ports: readonly number[]
  /** Sum over the pods that run. */
  metric(name: string, label?: string): Promise<number>
}

/** Starts Redis and that many pods, and waits until they are ready. All end with the test, which must be running. */
export async function startPods(count: number, options: PodsOptions = {}): Promise<Pods> {
  const redis = await startRedis(options.redis)
  onTestFinished(() => redis.remove())
  const all: BrokerProcess[] = []
  for (let index = 0; index < count; index++) all.push(await createPod(redis, index, options))
  await Promise.all(all.map((pod) => startReady(pod)))
  return {
    redis,
    all,
    get ports() {
      return all.map(({ port }) => port)
    },
    async metric(name, label) {
      const values = all.filter(({ isRunning }) => isRunning).map((pod) => pod.metric(name, label))
      return (await Promise.all(values)).reduce((sum, value) => sum + value, 0)
    },
  }
}

/** Nothing runs yet. It ends with the test. */
export async function createPod(
  redis: RedisServer,
  index: number,
  options: PodsOptions = {},
): Promise<BrokerProcess> {
  const { redisPort, storeRedis, config, listener = {}, nodeArguments = [] } = options
  const port = redisPort === undefined ? redis.port : await redisPort(index, redis.port)
  const pod = await createBrokerProcess({
    listener,
    nodeArguments,
    config: {
      store: { type: 'redis', redis: { url: `redis://127.0.0.1:${port}`, ...storeRedis } },
      ...config,
      session: { queueMaxMessages: 1_000_000, ...config?.session },
      cluster: { podName: `pod-${index}`, leaseMs: 2_000, ...config?.cluster },
    },
  })
  onTestFinished(() => pod.remove())
  onTestFailed(() => console.error(`pod ${index}:\n${lastWords(pod)}`))
  return pod
}

/** Starts it, again on its port; resolves when `/ready` says so. `podName`: of this run. */
export async function startReady(pod: BrokerProcess, podName?: string): Promise<void> {
  await pod.start(podName === undefined ? {} : { TUNNELMQ_CLUSTER_POD_NAME: podName })
  await waitReady(pod)
}

/** Why it is not ready; empty: it is. One that does not answer in a second gives that as the reason. */
export async function notReadyReasons(pod: BrokerProcess): Promise<readonly string[]> {
  try {
    const answer = await fetch(`${pod.adminUrl}/ready`, { signal: AbortSignal.timeout(1_000) })
    return ((await answer.json()) as { reasons?: string[] }).reasons ?? []
  } catch (error) {
    return [`no answer: ${String(error)}`]
  }
}

/** Resolves to the ms that it took. Rejects with the reasons. */
export async function waitReady(pod: BrokerProcess, timeoutMs = 45_000): Promise<number> {
  const startedAt = performance.now()
  for (;;) {
    const reasons = await notReadyReasons(pod)
    const tookMs = performance.now() - startedAt
    if (reasons.length === 0) return tookMs
    if (tookMs > timeoutMs) throw new Error(`not ready after ${timeoutMs} ms: ${reasons.join('; ')}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** SIGSTOP: its connections stay up, and nothing is answered. */
export function freeze(pod: BrokerProcess): void {
  process.kill(pod.pid, 'SIGSTOP')
}

export function thaw(pod: BrokerProcess): void {
  process.kill(pod.pid, 'SIGCONT')
}

/** What it has logged beside info, for whoever looks at a failed test. */
function lastWords(pod: BrokerProcess): string {
  return pod.events
    .filter(({ level }) => level !== 'info')
    .slice(-20)
    .map((event) => JSON.stringify(event))
    .join('\n')
}
