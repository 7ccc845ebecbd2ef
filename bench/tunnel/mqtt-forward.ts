import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { findFreePort } from '../children.ts'
import type { Contender } from './contender.ts'
import { startMosquitto } from './mosquitto.ts'

/** mqtt-forward over mosquitto, where somebody has built it: it is in no distribution. */

const SERVER_ID = 'bench'

export function mqttForward(said: string | undefined): Contender {
  const file = said ?? fileInPath('mqtt-forward')
  return {
    name: 'mqtt-forward',
    settings:
      'over mosquitto, QoS 0, else its defaults; bulk with 1/64 of the bytes, as it is bound by a timer',
    findVersion: () => (file !== undefined && isExecutable(file) ? file : undefined),
    start: async (site) => {
      const brokerPort = await startMosquitto(site)
      const port = await findFreePort()
      const common = [
        ...['--mqtt-host', '127.0.0.1', '--mqtt-port', String(brokerPort)],
        ...['--mqtt-qos', '0', '--server-side-id', SERVER_ID],
      ]
      const server = ['--server', '--addr', '127.0.0.1', '--port', String(site.bulkTarget)]
      site.start('agent', 'mqtt-forward-server', { file: file ?? '', args: [...common, ...server] })
      site.start('client', 'mqtt-forward-client', {
        file: file ?? '',
        args: [...common, '--port', String(port)],
      })
      // One target for each process: it has no second way beside a busy one.
      return { bulkPort: port, pingPort: port }
    },
  }
}

function fileInPath(name: string): string | undefined {
  const folders = process.env['PATH']?.split(delimiter) ?? []
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
