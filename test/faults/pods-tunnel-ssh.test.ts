import { setTimeout as after } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { startPods } from '../support/pods.ts'
import { ask, openSshWorld } from '../support/ssh-world.ts'
import { openDoor } from '../support/tunnel-pods.ts'
import { until } from '../support/tunnel-processes.ts'

it('a session of ssh outlives its pod, a time without Redis, and the pod of its agent', async () => {
  const pods = await startPods(3)
  const [first, second, third] = [pods.all[0]!, pods.all[1]!, pods.all[2]!]
  const [agentDoor, clientDoor] = [await openDoor(first.port), await openDoor(second.port)]
  const { agent, start } = await openSshWorld(agentDoor, clientDoor)
  const session = start('ssh', 'pi7.tunnel', 'sh')
  const shell = await ask(session, 'before', 'echo $$')

  clientDoor.lead(third.port)
  await second.kill()
  // Typed while nobody can hear it.
  expect(await ask(session, 'first', 'echo $$')).toBe(shell)

  pods.redis.freeze()
  const during = ask(session, 'second', 'echo $$')
  expect(await Promise.race([during, after(3_000, 'nothing')])).toBe('nothing')
  pods.redis.thaw()
  expect(await during).toBe(shell)

  agentDoor.lead(third.port)
  await first.kill()
  expect(await ask(session, 'third', 'echo $$')).toBe(shell)

  session.write('exit 5\n')
  expect((await session.ended).code).toBe(5)
  expect(await agent.logged('tunnel stream ended')).toMatchObject({ end: 'closed' })
  expect(agent.countOf('tunnel stream opened')).toBe(1)
  await until(async () => (await pods.metric('tunnelmq_tunnel_streams')) === 0)
})
