import { ourName, type BridgeDraft, type Draft, type RuleOf, type Setting } from './draft.ts'

/** What is known of one bridge of the other broker, before it is one of ours. */
export interface BridgeFacts {
  /** The setting that named it, for notes. */
  readonly opened: Setting
  readonly name: string
  /** `host` or `host:port` */
  address: string | undefined
  usesTls: boolean
  readonly bridge: Partial<BridgeDraft> & { topics: BridgeDraft['topics'] }
  readonly tls: NonNullable<BridgeDraft['tls']>
}

export type BridgeRule = RuleOf<BridgeFacts>

export function openBridge(opened: Setting, name: string, usesTls = false): BridgeFacts {
  return { opened, name: ourName(name), address: undefined, usesTls, bridge: { topics: [] }, tls: {} }
}

/** Into the configuration; or a note, when it would not be a bridge. */
export function finishBridge(facts: BridgeFacts, draft: Draft): void {
  const { opened, name, address, usesTls, bridge, tls } = facts
  if (address === undefined || bridge.topics.length === 0) {
    const missing = address === undefined ? 'no address' : 'no topic that can be carried over'
    return draft.note('lost', opened, `the bridge has ${missing}, and is left out`)
  }
  const url = `${usesTls ? 'mqtts' : 'mqtt'}://${address}`
  draft.config.bridges.push({ name, url, ...bridge, ...(usesTls ? { tls } : {}) })
}
