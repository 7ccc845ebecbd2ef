import type { IdentityOperations } from '../admin/operations.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'

/** What the API changes and shows of identities. */
export function createIdentityOperations(): IdentityOperations {
  const away = (): never => {
    throw new TunnelMQError(ErrorCode.storeUnavailable, 'Identities are not kept yet')
  }
  return {
    identities: away,
    identity: away,
    createIdentity: away,
    changeIdentity: away,
    deleteIdentity: away,
    setIdentityPassword: away,
    deleteIdentityPassword: away,
    createIdentityKey: away,
    deleteIdentityKey: away,
    groups: away,
    group: away,
    putGroup: away,
    deleteGroup: away,
    roles: away,
    role: away,
    putRole: away,
    deleteRole: away,
  }
}
