import { join } from 'node:path'
import { findFreePort } from '../children.ts'
import type { Contender } from './contender.ts'
import { mqttForward } from './mqtt-forward.ts'
import { ours } from './ours.ts'
import { ssh } from './ssh.ts'

/** The tunnels that are measured side by side. */

export interface Places {
  readonly root: string
  readonly built: string
  /** The executable, when it is not in the PATH. */
  readonly mqttForwardFile: string | undefined
}

export function contendersOf(places: Places): readonly Contender[] {
  return [relay(places, 2), relay(places, 3), ssh, mqttForward(places.mqttForwardFile), ...ours(places.root)]
}

function relay({ built }: Places, hopCount: 2 | 3): Contender {
  return {
    name: `relay-${hopCount}`,
    settings: `${hopCount} processes of bench/tunnel/relay.ts: net, pipe, noDelay; no protocol, no protection`,
    findVersion: () => process.version,
    start: async ({ start, bulkTarget, pingTarget }) => {
      let [bulkPort, pingPort] = [bulkTarget, pingTarget]
      for (let hop = hopCount; hop > 0; hop--) {
        const [bulkListen, pingListen] = [await findFreePort(), await findFreePort()]
        const pairs = [`${bulkListen}=${bulkPort}`, `${pingListen}=${pingPort}`]
        start('hop', `hop-${hop}`, {
          file: process.execPath,
          args: [join(built, 'tunnel/relay.js'), ...pairs],
        })
        ;[bulkPort, pingPort] = [bulkListen, pingListen]
      }
      return { bulkPort, pingPort }
    },
  }
}
