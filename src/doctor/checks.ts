import type { Config } from '../config/schema.ts'
import { judgeBroker } from './admin.ts'
import type { BrokerView } from './broker-view.ts'
import { checkCapacity } from './capacity.ts'
import { checkCertificates } from './certificates.ts'
import type { Check } from './examine.ts'
import { judgeListeners, probeListeners, type Probed } from './listeners.ts'
import { placesOf } from './places.ts'
import { checkPorts } from './ports.ts'
import { holderOfPort } from './processes.ts'
import { checkProxies } from './proxy.ts'
import { checkRedis } from './redis.ts'
import { checkRevocationLists } from './revocation.ts'
import { checkStoreFolder } from './store-folder.ts'

/** The checks of a broker and of what it stands on, in their order; the later ones use what the earlier have seen. */
export function checksOfBroker(config: Config, broker: BrokerView | undefined): readonly Check[] {
  let pid = broker?.pid
  let probed: readonly Probed[] = []
  const isRunning = (): boolean => broker !== undefined || pid !== undefined
  const places = placesOf(config)
  return [
    {
      name: 'broker',
      run: async () => {
        for (const { port, protocol } of places) {
          if (pid !== undefined || port === 0) continue
          const holder = await holderOfPort(port, protocol)
          if (holder?.isBroker === true) pid = holder.pid
        }
        return judgeBroker(config, broker, pid !== undefined)
      },
    },
    { name: 'port', run: () => checkPorts(places, isRunning()) },
    {
      name: 'mqtt',
      run: async () => {
        probed = await probeListeners(config)
        return judgeListeners(config, probed, isRunning())
      },
    },
    {
      name: 'tls',
      run: async () => [
        ...(await checkCertificates(config, probed)),
        ...(await checkRevocationLists(config)),
      ],
    },
    { name: 'proxy', run: () => checkProxies(config, broker) },
    { name: 'redis', run: () => checkRedis(config) },
    { name: 'store', run: () => checkStoreFolder(config) },
    { name: 'limits', run: () => checkCapacity(config, pid) },
  ]
}
