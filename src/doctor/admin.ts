import type { Config } from '../config/schema.ts'
import type { BrokerView } from './broker-view.ts'
import { findingsOf, type Finding } from './finding.ts'

const { ok, warn, fail, skipped } = findingsOf('broker')

/** What its admin server says. Pure. */
export function judgeBroker(
  { admin }: Config,
  broker: BrokerView | undefined,
  isHeld: boolean,
): readonly Finding[] {
  if (!admin.enabled) return [skipped('admin.enabled is off: the broker cannot be asked')]
  if (broker === undefined)
    return isHeld
      ? [
          fail(
            `a broker has its ports, and its admin server (${admin.host}:${admin.port}) does not answer as one`,
            'see its log; is it run with this configuration? Another place: --api-url',
          ),
        ]
      : [skipped('no broker runs here: what needs one is skipped')]
  const { adminUrl, version, notReadyReasons, api, noApi } = broker
  return [
    ok(`TunnelMQ ${version} answers at ${adminUrl}`),
    notReadyReasons.length === 0
      ? ok('it is ready')
      : fail(
          `it is not ready: ${notReadyReasons.join('; ')}`,
          'the reason says what is missing; the log has more',
        ),
    api === undefined
      ? warn(
          `it cannot be asked for details: ${noApi}`,
          'run this as the user of the broker or as root, or with --api-key-file',
        )
      : ok('its API answers'),
  ]
}
