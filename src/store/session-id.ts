/**
 * The id under which a client's session and will are kept. Client ids are names within their mountpoint, so that one
 * site cannot take over the sessions of another. U+0000 is in no client id [MQTT-1.5.3-2], so ids cannot collide.
 */
export function sessionIdOf(clientId: string, mountpoint: string): string {
  return mountpoint === '' ? clientId : `${mountpoint}\0${clientId}`
}

/**
 * Of the client that has left a will. In Redis a will that is not the last of its client has two U+0000 and a number behind
 * that (lua/op-claim.lua), and no session id has two in a row.
 */
export function sessionIdOfWill(name: string): string {
  const end = name.indexOf('\0\0')
  return end === -1 ? name : name.slice(0, end)
}
