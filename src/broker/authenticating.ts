import type { Decision } from '../hooks/decision.ts'
import { RefuseReason, type AuthExchange } from '../hooks/types.ts'
import type { Connection } from './connection.ts'
import type { ReasonPacket } from './packets/ending.ts'
import { protocolError } from './packets/fault.ts'
import { ReasonCode } from './packets/reason.ts'
import { refusalCode } from './reason-of.ts'

/** A client that is connected shows once more who it is. */
export interface ReAuthentication extends AuthExchange {
  readonly isReAuthentication: true
  readonly beganAtMs: number
  rounds: number
  /** A handler is being asked: the client has to wait for what it says. */
  isAsking: boolean
}

/** It has failed: to be counted as a guess, and logged. */
export type OnRefusedAgain = (connection: Connection, decision: Decision) => void

/**
 * Authentication by a method of MQTT 5 (4.12): rounds of AUTH packets that a handler leads, before the CONNACK, and again
 * at any time when the client wishes.
 */
export class Authenticating {
  readonly #maxRounds: number
  readonly #refusedAgain: OnRefusedAgain

  constructor(options: { maxRounds: number; refusedAgain: OnRefusedAgain }) {
    this.#maxRounds = options.maxRounds
    this.#refusedAgain = options.refusedAgain
  }

  /** Before the CONNACK. Resolves to the last decision; undefined: the connection is gone. Never rejects. */
  async atConnect(connection: Connection, method: string): Promise<Decision | undefined> {
    const session = connection.session!
    const exchange: AuthExchange = { method, isReAuthentication: false, state: undefined }
    let data = session.takeAuthenticationData()
    for (let round = 0; round < this.#maxRounds; round++) {
      const asked = connection.profile.guard.authenticate(session, exchange, data)
      const decision = asked instanceof Promise ? await asked : asked
      const { answer } = decision
      if (!decision.allowed || answer === undefined) return decision
      if ('success' in answer) {
        // [MQTT-4.12.0-5]
        connection.addToConnack({
          authenticationMethod: method,
          ...(answer.success !== undefined && { authenticationData: answer.success }),
        })
        return decision
      }
      const packet = await connection.exchangeAuth(method, answer.continue)
      if (packet === undefined) return undefined
      data = packet.properties.authenticationData
    }
    return tooManyRounds
  }

  /** AUTH while the connection is open; all else goes on as before meanwhile. @throws PacketFault */
  again(connection: Connection, { reasonCode, properties }: ReasonPacket): void {
    const method = checkMethod(connection, properties.authenticationMethod)
    const isNew = reasonCode === ReasonCode.reAuthenticate
    const running = connection.reAuthentication
    if (isNew && running !== undefined) throw protocolError('a second authentication while one is under way')
    if (!isNew && running === undefined) throw protocolError('AUTH that continues nothing')
    if (running?.isAsking === true) throw protocolError('AUTH before the last one was answered')
    const exchange = (connection.reAuthentication = running ?? {
      ...{ method, isReAuthentication: true, state: undefined },
      ...{ beganAtMs: Date.now(), rounds: 0, isAsking: false },
    })
    void this.#round(connection, exchange, properties.authenticationData)
  }

  async #round(connection: Connection, exchange: ReAuthentication, data: Buffer | undefined): Promise<void> {
    const session = connection.session!
    // Its rights, its session and its place in the counts are those of who it was, also while a handler looks.
    session.settle()
    exchange.isAsking = true
    const asked = connection.profile.guard.authenticate(session, exchange, data)
    let decision = asked instanceof Promise ? await asked : asked
    exchange.isAsking = false
    if (session.isMistaken) decision = otherClient(decision.handler)
    if (connection.phase !== 'open') return
    const { answer } = decision
    if (!decision.allowed || answer === undefined) this.#refuse(connection, decision)
    else if ('success' in answer) {
      connection.reAuthentication = undefined
      connection.sendAuth(ReasonCode.success, exchange.method, answer.success)
    } else if (++exchange.rounds >= this.#maxRounds) this.#refuse(connection, tooManyRounds)
    else connection.sendAuth(ReasonCode.continueAuthentication, exchange.method, answer.continue)
  }

  /** [MQTT-4.12.1-2] */
  #refuse(connection: Connection, decision: Decision): void {
    const { reason = '', clientText, userProperties } = decision
    this.#refusedAgain(connection, decision)
    connection.close({
      kind: 'revoked',
      detail: `authentication refused: ${reason}`,
      reasonCode: refusalCode('disconnect', decision),
      ...(clientText !== undefined && { clientText }),
      ...(userProperties !== undefined && { userProperties }),
    })
  }
}

/** The method of an AUTH: that of the CONNECT. @throws PacketFault */
export function checkMethod(connection: Connection, method: string | undefined): string {
  const own = connection.session?.properties?.authenticationMethod
  if (own === undefined) throw protocolError('AUTH, and no authentication method in CONNECT') // [MQTT-4.12.0-7]
  if (method !== own) throw protocolError('AUTH with another authentication method than CONNECT') // [MQTT-4.12.1-1]
  return own
}

/** Nobody knows the method that it has named: it has guessed nothing, and may try another. */
export function isMethodUnknown({ session }: Connection, { reasonCode }: Decision): boolean {
  const method = session?.properties?.authenticationMethod
  return method !== undefined && reasonCode === ReasonCode.badAuthenticationMethod
}

const tooManyRounds: Decision = Object.freeze({
  allowed: false,
  handler: 'none',
  reason: 'too many rounds of authentication (auth.maxRounds)',
  refuse: RefuseReason.notAuthorized,
})

function otherClient(handler: string): Decision {
  const reason = 'it has authenticated as another user'
  return { allowed: false, handler, reason, refuse: RefuseReason.notAuthorized }
}
