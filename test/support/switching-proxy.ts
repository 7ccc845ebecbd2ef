import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface SwitchingProxy {
  /** `mqtt://`, the same whatever it leads to. */
  readonly url: string
  /** New connections go there. Those that stand stay as they are. */
  lead(port: number): void
}

/** What a load balancer is for a client: one address, behind which it finds another broker each time. */
export async function openSwitchingProxy(to: number): Promise<SwitchingProxy> {
  let port = to
  const server = createServer({ noDelay: true }, (socket) => {
    const onward = connect({ port, host: '127.0.0.1', noDelay: true })
    for (const [from, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      from.on('error', () => undefined)
      from.once('close', () => other.destroy())
      from.pipe(other)
    }
    onTestFinished(() => void socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lead: (next) => void (port = next),
  }
}
