import type { ClientDetail, Refusal } from '../admin/api/resources.ts'

/** The broker that runs, as far as it can be asked: by its admin server, and by its API where there is a key. */
export interface BrokerView {
  readonly adminUrl: string
  readonly version: string
  /** Empty: it is ready. */
  readonly notReadyReasons: readonly string[]
  /** Of its process, where its local key tells. */
  readonly pid: number | undefined
  /** Undefined: there is no key, or it may not read. */
  readonly api: BrokerApi | undefined
  /** Why there is no API. */
  readonly noApi: string
}

export interface BrokerApi {
  client(id: string): Promise<ClientDetail | undefined>
  refusals(): Promise<readonly Refusal[]>
}
