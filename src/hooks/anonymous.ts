import { AuthError, noOpinion, type ManagedHandler } from './types.ts'

/** Allows or refuses clients that send neither username nor password; no opinion on others. */
export function createAnonymousHandler(options: {
  readonly allow: boolean
  readonly name?: string
}): ManagedHandler {
  return {
    name: options.name ?? 'anonymous',
    authConnect(session) {
      if (session.username !== undefined || session.password !== undefined) return noOpinion
      if (!options.allow) throw new AuthError('anonymous clients are not allowed')
      return undefined
    },
    explain({ username, password }, { action }) {
      if (action !== 'connect') return undefined
      const rule = `allow: ${options.allow}`
      if (username !== undefined || password !== undefined)
        return { rule, opinion: 'none', reason: 'the client has a username' }
      return { rule, opinion: options.allow ? 'allowed' : 'refused', reason: 'the client has no username' }
    },
  }
}
