import {
  compileRights,
  isDenied,
  mayPublish,
  maySubscribe,
  parseAcl,
  type Acl,
  type AclDialect,
  type AclRights,
} from './acl.ts'
import { explainAcl } from './acl-explain.ts'
import type { HandlerLog } from './log.ts'
import { openRightsFile, type RightsFileOptions, partsOfRightsFile } from './rights-file.ts'
import { AuthError, type ManagedHandler, type Session } from './types.ts'

export interface AclFileOptions {
  readonly file: string
  readonly dialect: AclDialect
  readonly mountpoint: string
  readonly log: HandlerLog
  readonly name?: string
  readonly watch?: RightsFileOptions<unknown>['watch']
}

/** Answers for the topics a client uses again and again. */
interface SessionRights {
  readonly id: string
  readonly username: string | undefined
  readonly rights: AclRights
  readonly publish: Map<string, boolean>
  readonly denied: Map<string, boolean>
}

/** Topics remembered a client, each way: about 100 bytes each. */
const maxRememberedTopics = 128

/**
 * Who may publish and subscribe to what. Always has an opinion: what is not listed is refused.
 * No opinion on who may connect.
 */
export async function createAclFileHandler(options: AclFileOptions): Promise<ManagedHandler> {
  const { file, dialect, mountpoint, log, name = 'acl-file', watch } = options
  const acl = await openRightsFile<Acl>({
    file,
    log,
    parse: (text) => parseAcl(text, { file, dialect }),
    ...(watch === undefined ? {} : { watch }),
  })
  let sessions = new WeakMap<Session, SessionRights>()
  acl.onChange(() => {
    sessions = new WeakMap()
  })

  function rightsOf(session: Session): SessionRights {
    const known = sessions.get(session)
    // A handler further up may have renamed the client since.
    if (known !== undefined && known.id === session.id && known.username === session.username) return known
    const { id, username } = session
    const made: SessionRights = {
      id,
      username,
      rights: compileRights(acl.current, { clientId: id, username, mountpoint }),
      publish: new Map(),
      denied: new Map(),
    }
    sessions.set(session, made)
    return made
  }

  return {
    name,
    authPublish(session, message) {
      const { publish, rights } = rightsOf(session)
      const { topic } = message
      const allowed = publish.get(topic) ?? remember(publish, topic, mayPublish(rights, topic))
      if (!allowed) throw publishRefused
    },
    authSubscribe(session, subscriptions) {
      const { rights } = rightsOf(session)
      for (const subscription of subscriptions) {
        if (!maySubscribe(rights, subscription.topic)) subscription.refused = 'no rule covers this filter'
      }
    },
    authDeliver(session, message) {
      const { denied, rights } = rightsOf(session)
      if (rights.deny.length === 0) return undefined
      const { topic } = message
      // No opinion on what is not denied: the subscription was granted, by whomever.
      return (denied.get(topic) ?? remember(denied, topic, isDenied(rights, topic))) ? false : undefined
    },
    explain(session, question) {
      if (question.action === 'connect') return undefined
      const { topic, action } = question
      const { id, username } = session
      const asked = {
        topic,
        action: action === 'publish' || action === 'open' ? 'publish' : 'subscribe',
      } as const
      const known = sessions.get(session)
      const isCached =
        asked.action === 'publish' &&
        known?.id === id &&
        known.username === username &&
        known.publish.has(topic)
      return { ...explainAcl(acl.current, file, { clientId: id, username, mountpoint }, asked), isCached }
    },
    ...partsOfRightsFile(acl),
  }
}

// Shared: a flood of refused messages must not cost a stack trace each.
const publishRefused = new AuthError('no rule allows this topic')

function remember(answers: Map<string, boolean>, topic: string, answer: boolean): boolean {
  if (answers.size >= maxRememberedTopics) answers.clear()
  answers.set(topic, answer)
  return answer
}
