import { mosquitto } from '../brokers/kinds.ts'
import { findFreePort, untilListening } from '../children.ts'
import type { Site } from './contender.ts'

const START_DEADLINE_MS = 10_000

/** With the settings that it has in the bench of brokers. Returns its port. */
export async function startMosquitto({ start, folder }: Pick<Site, 'start' | 'folder'>): Promise<number> {
  const port = await findFreePort()
  const broker = start('broker', 'broker', mosquitto.prepare({ port, folder, profileFolder: undefined }))
  await untilListening(broker, port, START_DEADLINE_MS)
  return port
}
