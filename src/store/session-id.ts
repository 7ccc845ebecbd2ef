/**
 * The id under which a client's session and will are kept. Client ids are names within their mountpoint, so that one
 * site cannot take over the sessions of another. U+0000 is in no client id [MQTT-1.5.3-2], so ids cannot collide.
 */
export function sessionIdOf(clientId: string, mountpoint: string): string {
  return mountpoint === '' ? clientId : `${mountpoint}\0${clientId}`
}
