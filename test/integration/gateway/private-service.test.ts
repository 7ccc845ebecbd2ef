import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createAuthority } from '../../../src/gateway-init/certificate.ts'
import { addresses, createHomeNetwork, type HomeNetwork } from '../../support/home-network.ts'
import { isWithoutNamespaces, type Machine, type MachineProgram } from '../../support/netns-machine.ts'
import {
  initGateway,
  install,
  itHasMachines,
  soon,
  startAgent,
  startBroker,
  startTunnelmq,
  until,
} from './machines.ts'

/** The office is the home of the other tests: the agent at pi0, the server beside it. */
const NAME = 'stock.office.example'
const STOCK = '{"bolts":12000}\n'
const OTHER_PORT = 8_444

describe('one service of a private network (docs/gateway-private-service.md)', () => {
  itHasMachines('the private service is not reached through a gateway')

  describe.skipIf(isWithoutNamespaces)('with the files of `tunnelmq gateway init`', () => {
    let network: HomeNetwork
    let out: string
    let broker: MachineProgram
    let certificateFile: string

    const curl = (machine: Machine, to: string, port: number, more: readonly string[] = []) =>
      machine.attempt([
        ...['curl', '--silent', '--show-error', '--cacert', certificateFile],
        ...['--resolve', `${NAME}:${port}:${to}`, ...more, `https://${NAME}:${port}/stock.json`],
      ])

    /** Where nobody may say no: what is dropped. */
    const tryCurl = (machine: Machine, to: string, port: number, more: readonly string[] = []) =>
      curl(machine, to, port, ['--connect-timeout', '1', ...more])

    beforeAll(async () => {
      network = await createHomeNetwork()
      const { vm, pi0: office, local: server, folder } = network
      certificateFile = join(folder, 'office-ca.pem')
      const authority = await createAuthority('Office')
      const { certificatePem, keyPem } = await authority.sign([NAME])
      await writeFile(certificateFile, authority.certificatePem)
      await writeFile(join(folder, 'server.pem'), certificatePem + keyPem)
      await writeFile(join(folder, 'stock.json'), STOCK)
      for (const port of [443, OTHER_PORT])
        server.start(
          ['openssl', 's_server', '-quiet', '-WWW', '-accept', String(port), '-cert', 'server.pem'],
          { folder },
        )
      out = await initGateway(folder, [
        ...['service', '--vm-address', addresses.vm, '--service', `${addresses.local}:443`],
        ...['--allow', addresses.device],
      ])
      const [atVm, atOffice] = await Promise.all([install(out, 'vm'), install(out, 'office')])
      broker = await startBroker(vm, atVm)
      await startAgent(office, atOffice)
      await until(server, `test "$(ss -Hltn "sport = 443 or sport = ${OTHER_PORT}" | wc -l)" = 2`)
    })
    afterAll(() => network?.end())

    it('is reached by the name in its certificate, from an address that is allowed', async () => {
      const { device } = network
      expect(await curl(device, addresses.vm, 8443)).toEqual({ code: 0, output: STOCK })
      const opened = { msg: 'stream opened', service: 'https', address: addresses.device }
      await soon(() => expect(broker.events).toContainEqual(expect.objectContaining(opened)))
    })

    it('is closed to other addresses: by the broker, and by the firewall that comes with it', async () => {
      const { device, vm } = network
      const elsewhere = ['--interface', addresses.otherDevice]
      const refused = () => broker.events.filter(({ reason }) => reason === 'address-not-allowed')
      expect((await curl(device, addresses.vm, 8443, elsewhere)).code).not.toBe(0)
      await soon(() =>
        expect(refused()).toEqual([expect.objectContaining({ address: addresses.otherDevice })]),
      )

      await vm.run(['nft', '-f', join(out, 'vm/firewall.nft')])
      expect((await tryCurl(device, addresses.vm, 8443, elsewhere)).code).not.toBe(0)
      expect(refused()).toHaveLength(1)
      expect((await curl(device, addresses.vm, 8443)).output).toBe(STOCK)
    })

    it('is the only thing there that the cloud can reach', async () => {
      const { device, vm, pi0: office } = network
      expect((await curl(office, addresses.local, OTHER_PORT)).code).toBe(0)
      const direct = await Promise.all([
        tryCurl(vm, addresses.local, 443),
        tryCurl(vm, addresses.local, OTHER_PORT),
        tryCurl(vm, addresses.home, OTHER_PORT),
        tryCurl(device, addresses.vm, OTHER_PORT),
      ])
      expect(direct.map(({ code }) => code === 0)).toEqual([false, false, false, false])
    })

    it('is opened by a program under a name of its own, which opens nothing else', async () => {
      const { device } = network
      const config = ['--config', join(out, 'program/client.yaml')]
      const forward = startTunnelmq(device, ['forward', ...config])
      await forward.said(/127\.0\.0\.1:8443 -> office\/https/)
      expect((await curl(device, '127.0.0.1', 8443)).output).toBe(STOCK)
      const other = startTunnelmq(device, ['connect', 'office/other', ...config])
      await other.said(/no right to office\/other/)
    })
  })
})
