import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectMachines, createMachine, type Machine } from './netns-machine.ts'

/**
 * A piece of the Internet, and a home behind a router with NAT that lets nothing in:
 *
 *   device 198.51.100.7 ─┐                                             ┌─ pi0   192.168.1.20
 *          198.51.100.8  ├─ internet ─ 192.0.2.10 router 192.168.1.1 ──┤
 *   vm     203.0.113.10 ─┘                                             └─ local 192.168.1.30
 */
export interface HomeNetwork {
  readonly device: Machine
  readonly vm: Machine
  readonly router: Machine
  readonly pi0: Machine
  /** Another machine at home. */
  readonly local: Machine
  /** For files of the test; removed with the network. */
  readonly folder: string
  /**
   * As providers do at night: the line goes down, and comes back with another address. The router knows none of the old
   * connections any more, and refuses what is left of them.
   */
  changeHomeAddress(): Promise<void>
  end(): Promise<void>
}

export const addresses = {
  device: '198.51.100.7',
  otherDevice: '198.51.100.8',
  vm: '203.0.113.10',
  home: '192.0.2.10',
  homeLater: '192.0.2.11',
  pi0: '192.168.1.20',
  local: '192.168.1.30',
} as const

const routerRules = `
table inet home {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    # Where the kernel shows it what passes the bridge.
    iifname "br0" oifname "br0" accept
    iifname "br0" ct state new accept
    iifname "br0" oifname "wan" meta l4proto tcp reject with tcp reset
  }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname { "lo", "br0" } accept
    ct state established,related accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }
}`

/** Rejects with what is missing; nothing is left then. */
export async function createHomeNetwork(): Promise<HomeNetwork> {
  const names = ['internet', 'device', 'vm', 'router', 'pi0', 'local'] as const
  const results = await Promise.allSettled(names.map(createMachine))
  const machines = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const folder = await mkdtemp(join(tmpdir(), 'tunnelmq-home-'))
  async function end(): Promise<void> {
    await Promise.all(machines.map((machine) => machine.end()))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    const [internet, device, vm, router, pi0, local] = machines as [
      Machine,
      Machine,
      Machine,
      Machine,
      Machine,
      Machine,
    ]
    await connectMachines([internet, 'to-device'], [device, 'eth0'])
    await connectMachines([internet, 'to-vm'], [vm, 'eth0'])
    await connectMachines([internet, 'to-home'], [router, 'wan'])
    await connectMachines([router, 'lan0'], [pi0, 'eth0'])
    await connectMachines([router, 'lan1'], [local, 'eth0'])
    const host = (address: string, gateway: string) => [
      `addr add ${address}/24 dev eth0`,
      'link set eth0 up',
      `route add default via ${gateway}`,
    ]
    await Promise.all([
      configure(internet, [
        'addr add 198.51.100.1/24 dev to-device',
        'addr add 203.0.113.1/24 dev to-vm',
        'addr add 192.0.2.1/24 dev to-home',
        ...['to-device', 'to-vm', 'to-home'].map((link) => `link set ${link} up`),
      ]),
      configure(device, [
        ...host(addresses.device, '198.51.100.1'),
        `addr add ${addresses.otherDevice}/24 dev eth0`,
      ]),
      configure(vm, host(addresses.vm, '203.0.113.1')),
      configure(router, [
        `addr add ${addresses.home}/24 dev wan`,
        'link set wan up',
        'route add default via 192.0.2.1',
        'link add br0 type bridge',
        'addr add 192.168.1.1/24 dev br0',
        ...['lan0', 'lan1'].flatMap((link) => [`link set ${link} master br0`, `link set ${link} up`]),
        'link set br0 up',
      ]),
      configure(pi0, host(addresses.pi0, '192.168.1.1')),
      configure(local, host(addresses.local, '192.168.1.1')),
    ])
    await Promise.all([
      internet.run(['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']),
      router.run(['nft', '-f', '-'], { input: routerRules }),
    ])
    // Connections that it has not seen begin are not picked up in the middle.
    const settings =
      'echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose; echo 1 > /proc/sys/net/ipv4/ip_forward'
    await router.run(['sh', '-ec', settings])

    return {
      device,
      vm,
      router,
      pi0,
      local,
      folder,
      async changeHomeAddress() {
        await configure(router, ['link set wan down', `addr del ${addresses.home}/24 dev wan`])
        await router.run(['conntrack', '--flush'])
        await configure(router, [
          `addr add ${addresses.homeLater}/24 dev wan`,
          'link set wan up',
          'route add default via 192.0.2.1',
        ])
      },
      end,
    }
  } catch (error) {
    await end()
    throw error
  }
}

async function configure(machine: Machine, lines: readonly string[]): Promise<void> {
  await machine.run(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` })
}
