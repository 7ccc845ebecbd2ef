import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addresses, createHomeNetwork, type HomeNetwork } from '../../support/home-network.ts'
import { isWithoutNamespaces, type MachineProgram } from '../../support/netns-machine.ts'
import {
  expectConnectedOnce,
  installHomeGateway,
  itHasMachines,
  mosquittoUser,
  soon,
  startBroker,
  subscribe,
  until,
} from './machines.ts'

/** Of pi0, beside the gateway's: everyone at home may reach it, and nobody out of the tunnel. */
const OTHER_PORT = 1_999

describe('a gateway of HAProxy and WireGuard (docs/gateway-haproxy.md)', () => {
  itHasMachines('HAProxy and WireGuard are not run as a gateway')

  describe.skipIf(isWithoutNamespaces)('with the files of `tunnelmq gateway init`', () => {
    let network: HomeNetwork
    let broker: MachineProgram
    let user: Awaited<ReturnType<typeof mosquittoUser>>
    /** At home: hears what devices say. */
    let listener: MachineProgram

    beforeAll(async () => {
      network = await createHomeNetwork()
      const { vm, pi0, local, folder } = network
      const { out, atVm, atPi0, ...gateway } = await installHomeGateway(folder, [
        ...['haproxy', '--vm-address', addresses.vm, '--local-name', addresses.pi0],
      ])
      user = gateway.user
      const inner = ['type=tcp', 'host=0.0.0.0', `port=${OTHER_PORT}`].map(
        (setting) => `listeners.2.${setting}`,
      )
      const tunnelUp = async (): Promise<void> => {
        for (const [machine, root] of [
          [vm, atVm],
          [pi0, atPi0],
        ] as const) {
          await machine.run(['mount', '--bind', join(root, 'etc/wireguard'), '/etc/wireguard'])
          await machine.run(['wg-quick', 'up', 'wg0'])
        }
        await vm.run(['nft', '-f', join(out, 'vm/firewall.nft')])
        await until(vm, "wg show wg0 latest-handshakes | grep -q '[1-9][0-9]*$'")
      }
      ;[broker] = await Promise.all([startBroker(pi0, atPi0, inner), tunnelUp()])
      vm.start(['haproxy', '-db', '-f', join(atVm, 'etc/haproxy/haproxy.cfg')])
      await until(vm, 'test "$(ss -Hltn "sport = 1883 or sport = 8883" | wc -l)" = 2')
      listener = await subscribe(local, [...user('garden', addresses.pi0, 1883), '-v', '-t', 'devices/#'])
    })
    afterAll(() => network?.end())

    it('brings messages of devices to pi0, with their own addresses in its log', async () => {
      const { device } = network
      for (const port of [1883, 8883]) {
        const id = `pump-${port}`
        const words = [...user(id, addresses.vm, port), '-t', `devices/${id}`, '-m', `from ${id}`]
        await device.run(['mosquitto_pub', ...words])
        await listener.said(new RegExp(`^devices/${id} from ${id}$`, 'm'))
        const lines = () =>
          broker.events.filter(({ client, msg }) => client === id && msg === 'client connected')
        await soon(() => expect(lines()).toEqual([expect.objectContaining({ address: addresses.device })]))
      }
    })

    it('lets devices at home use the same port, without a header, under their own addresses', async () => {
      await expectConnectedOnce(broker, 'garden', { address: addresses.local, listener: 'tcp-1883' })
    })

    it('keeps a device connected while the home gets another address', async () => {
      const { device, local } = network
      const valve = await subscribe(device, [...user('valve', addresses.vm, 8883), '-t', 'valves/1'])
      await network.changeHomeAddress()
      await local.run([
        'mosquitto_pub',
        ...user('switch', addresses.pi0, 8883),
        '-t',
        'valves/1',
        '-m',
        'open',
      ])
      await valve.said(/^open$/m)
      await expectConnectedOnce(broker, 'valve', { address: addresses.device, listener: 'tls-8883' })
    })

    it('shows the cloud VM the ports of the broker, and nothing else of pi0 or the home', async () => {
      const { vm, local, device } = network
      const open = (address: string, port: number) => ['bash', '-c', `exec 3<>/dev/tcp/${address}/${port}`]
      // Nobody says no to what is dropped.
      const tryOpen = (address: string, port: number) => ['timeout', '1', ...open(address, port)]
      await local.run(open(addresses.pi0, OTHER_PORT))
      await vm.run(open('10.200.200.2', 1883))
      const tries = await Promise.all([
        vm.attempt(tryOpen('10.200.200.2', OTHER_PORT)),
        vm.attempt(tryOpen(addresses.pi0, 1883)),
        device.attempt(tryOpen(addresses.homeLater, 1883)),
      ])
      expect(tries.map(({ code }) => code === 0)).toEqual([false, false, false])
    })
  })
})
