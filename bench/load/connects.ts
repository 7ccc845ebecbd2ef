import { Connection, type Role } from './connection.ts'
import { inGroups, pause } from './crowd.ts'
import { between, residentKib, takeReading } from './meter.ts'
import type { ConnectsPlan, LoadResult, Target } from './plan.ts'
import { TurnEnd } from './turn-end.ts'

const US_PER_MS = 1000
/** Longer than the run: an idle client must not have to ping. */
const KEEPALIVE_SECONDS = 300
/** For what the broker does after its last CONNACK. */
const SETTLE_MS = 300
const REASONS_KEPT = 3

/** Connects a second from TCP to CONNACK, and what an idle connection costs in memory. */
export async function measureConnects(plan: ConnectsPlan, target: Target): Promise<LoadResult> {
  const disconnectReasons: string[] = []
  let disconnected = 0
  const turnEnd = new TurnEnd()
  const residentBefore = residentKib(target.brokerPid)
  const from = takeReading(target.brokerPid)
  const indexes = Array.from({ length: plan.connectionCount }, (_, index) => index)
  const { username, password, version } = target
  await inGroups(indexes, plan.concurrentCount, async (index) => {
    await Connection.open({
      port: index % 2 === 0 ? target.port : (target.otherPort ?? target.port),
      connect: {
        clientId: `bench-${index}`,
        clean: plan.clean ?? true,
        keepaliveSeconds: KEEPALIVE_SECONDS,
        username,
        password,
        version,
      },
      role: idle,
      turnEnd,
      onDisconnect: (reason) => {
        disconnected++
        if (disconnectReasons.length < REASONS_KEPT) disconnectReasons.push(reason)
      },
    })
  })
  const to = takeReading(target.brokerPid)
  await pause(SETTLE_MS)
  const residentAfter = residentKib(target.brokerPid)
  const settled = takeReading(target.brokerPid)
  const { elapsedMs, busy } = between(from, to)
  const { brokerCpuMs } = between(from, settled)
  return {
    figures: {
      connectsPerSecond: (plan.connectionCount * 1000) / elapsedMs,
      ...(brokerCpuMs !== undefined && {
        brokerCpuUsPerConnect: (brokerCpuMs * US_PER_MS) / plan.connectionCount,
      }),
      ...(residentBefore !== undefined &&
        residentAfter !== undefined && {
          idleConnectionKib: (residentAfter - residentBefore) / plan.connectionCount,
        }),
      ...busy,
    },
    faults: { lost: 0, duplicated: 0, outOfOrder: 0, misrouted: 0, unacknowledged: 0, disconnected },
    disconnectReasons,
  }
}

const idle: Role = {
  publish: () => {
    throw new Error('an idle client was sent a message')
  },
  acknowledge: () => {},
}
