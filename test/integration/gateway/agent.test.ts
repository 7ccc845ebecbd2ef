import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { addresses, createHomeNetwork, type HomeNetwork } from '../../support/home-network.ts'
import { isWithoutNamespaces, thisMachine, type MachineProgram } from '../../support/netns-machine.ts'
import {
  expectConnectedOnce,
  installHomeGateway,
  itHasMachines,
  linesOf,
  mosquittoUser,
  soon,
  startAgent,
  startBroker,
  subscribe,
} from './machines.ts'

describe('a gateway of a broker and an agent (docs/gateway-agent.md)', () => {
  itHasMachines('the gateway is run on loopback, where no link drops')

  describe.skipIf(isWithoutNamespaces)('with the files of `tunnelmq gateway init`', () => {
    let network: HomeNetwork
    let vmBroker: MachineProgram
    let broker: MachineProgram
    let user: Awaited<ReturnType<typeof mosquittoUser>>
    /** At home: hears what devices say. */
    let listener: MachineProgram

    beforeAll(async () => {
      network = await createHomeNetwork()
      const { vm, pi0, local, folder } = network
      const { out, atVm, atPi0, ...gateway } = await installHomeGateway(folder, [
        ...['agent', '--vm-address', addresses.vm, '--local-name', addresses.pi0],
      ])
      user = gateway.user
      await vm.run(['nft', '-f', `${out}/vm/firewall.nft`])
      ;[vmBroker, broker] = await Promise.all([startBroker(vm, atVm), startBroker(pi0, atPi0)])
      await startAgent(pi0, atPi0)
      listener = await subscribe(local, [...user('garden', addresses.pi0, 1883), '-v', '-t', 'devices/#'])
    })
    afterAll(() => network?.end())

    it('brings messages of devices to pi0, with their own addresses in its log', async () => {
      const { device } = network
      for (const [port, name] of [
        [1883, 'cloud'],
        [8883, 'cloud-tls'],
      ] as const) {
        const id = `pump-${port}`
        await device.run([
          ...['mosquitto_pub', ...user(id, addresses.vm, port), '-t', `devices/${id}`, '-m', `from ${id}`],
        ])
        await listener.said(new RegExp(`^devices/${id} from ${id}$`, 'm'))
        await soon(() =>
          expect(linesOf(broker, id)[0]).toMatchObject({ address: addresses.device, listener: name }),
        )
      }
    })

    it('lets devices at home use pi0 as ever, under their own addresses', async () => {
      await expectConnectedOnce(broker, 'garden', { address: addresses.local, listener: 'tcp-1883' })
    })

    it('keeps devices connected, both ways, while the link drops and comes back', async () => {
      const { device, local, vm } = network
      const valve = await subscribe(device, [...user('valve', addresses.vm, 8883), '-t', 'valves/1'])
      const sensor = device.start([
        ...['mosquitto_pub', '-l', ...user('sensor', addresses.vm, 1883), '-t', 'devices/sensor'],
      ])
      sensor.write('before\n')
      await listener.said(/^devices\/sensor before$/m)
      const sockets = () => vm.run(['ss', '-Htn', 'state', 'established', `dst ${addresses.device}`])
      const socketsBefore = await sockets()

      await network.changeHomeAddress()
      sensor.write('after\n')
      await local.run([
        'mosquitto_pub',
        ...user('switch', addresses.pi0, 8883),
        '-t',
        'valves/1',
        '-m',
        'open',
      ])
      await valve.said(/^open$/m)
      await listener.said(/^devices\/sensor after$/m)

      const links = () => linesOf(vmBroker, 'pi0').filter(({ msg }) => msg === 'client connected')
      await soon(() =>
        expect(links().map(({ address }) => address)).toEqual([addresses.home, addresses.homeLater]),
      )
      const ports = (text: string) =>
        new Set([...text.matchAll(new RegExp(`${addresses.device}]?:(\\d+)`, 'g'))].map(([, port]) => port))
      expect(ports(socketsBefore).size).toBe(2)
      expect(ports(await sockets())).toEqual(ports(socketsBefore))
      await expectConnectedOnce(broker, 'valve', { address: addresses.device, listener: 'cloud-tls' })
      await expectConnectedOnce(broker, 'sensor', { address: addresses.device, listener: 'cloud' })
    })
  })

  it('brings messages and real addresses over loopback', async () => {
    const here = thisMachine()
    const folder = await mkdtemp(join(tmpdir(), 'tunnelmq-gateway-'))
    onTestFinished(async () => {
      await here.end()
      await rm(folder, { recursive: true, force: true })
    })
    const { atVm, atPi0, user } = await installHomeGateway(folder, ['agent', '--vm-address', '127.0.0.1'])
    const anyPort = (count: number) =>
      Array.from({ length: count }, (_, index) => `listeners.${index}.port=0`)
    const portOf = (broker: MachineProgram, name: string): number => {
      const ready = broker.events.find(({ msg }) => msg === 'ready')
      const listeners = ready?.['listeners'] as { name: string; url: string }[]
      return Number(new URL(listeners.find((listener) => listener.name === name)!.url).port)
    }
    const binds = [0, 1].map((index) => `tunnel.listen.${index}.bind=127.0.0.1:0`)
    const vmBroker = await startBroker(here, atVm, [...anyPort(1), ...binds, 'admin.port=0'])
    const broker = await startBroker(here, atPi0, [...anyPort(4), 'admin.port=0'])
    await startAgent(here, atPi0, [
      ...['--broker', `mqtts://127.0.0.1:${portOf(vmBroker, 'link')}`],
      ...['--service', `mqtt=127.0.0.1:${portOf(broker, 'cloud')}`, '--proxy-protocol', 'v2'],
    ])
    const port = vmBroker.events.find(({ to }) => to === 'pi0/mqtt')?.['port'] as number
    await here.run([
      'mosquitto_pub',
      ...user('pump', '127.0.0.1', port),
      '-A',
      '127.0.0.7',
      '-t',
      'x',
      '-m',
      'y',
    ])
    await soon(() =>
      expect(linesOf(broker, 'pump')[0]).toMatchObject({ address: '127.0.0.7', listener: 'cloud' }),
    )
  })
})
