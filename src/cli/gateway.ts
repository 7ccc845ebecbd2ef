import { Command } from 'commander'
import { isIP } from 'node:net'
import { isCidrOrAddress, isHost, splitHostPort } from '../config/network-names.ts'
import { readTarget } from '../config/tunnel-endpoint-syntax.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import {
  LINK_PORT,
  type GatewayKind,
  type GatewayNames,
  type ServiceNames,
} from '../gateway-init/gateway-plan.ts'
import { collect } from './config-flags.ts'
import { shellWord } from './shell-word.ts'

interface InitFlags {
  readonly vmAddress?: string
  readonly domain?: string
  readonly localName?: readonly string[]
  readonly out: string
}

interface ServiceFlags extends InitFlags {
  readonly service: string
  readonly listen: string
  readonly allow: readonly string[]
}

const help = `
  tunnelmq gateway init haproxy --vm-address 203.0.113.10
  tunnelmq gateway init agent --vm-address 203.0.113.10 --domain mqtt.example.com
  tunnelmq gateway init service --vm-address 203.0.113.10 --service 192.168.20.5:443 --allow 10.0.0.0/24

Keys, passwords and certificates are made here and now, and stand in the files, which nobody else can read.
What each way is, step by step: docs/gateway-haproxy.md, docs/gateway-agent.md, docs/gateway-private-service.md.`

/** `tunnelmq gateway init`: the files of a cloud gateway, for both of its machines. */
export function gatewayCommand(): Command {
  const command = new Command('gateway').description('set up a way in through a machine in the cloud')
  const init = command
    .command('init')
    .description('write the files for each machine, with keys made on the spot')
    .addHelpText('after', help)
  const add = (kind: GatewayKind, text: string): Command =>
    init
      .command(kind)
      .description(text)
      .option('--vm-address <address>', 'address or name of the cloud VM; default: the domain')
      .option('--domain <name>', 'name by which devices know the VM, for its certificate')
      .option('--out <folder>', 'folder for the files; new, or empty', 'gateway')
  const local = 'further name or address of pi0, for devices at home; may be repeated'
  add('haproxy', 'HAProxy on the VM, WireGuard to the broker at home')
    .option('--local-name <name>', local, collect)
    .action((flags: InitFlags) => write('haproxy', flags))
  add('agent', 'TunnelMQ on the VM, an agent beside the broker at home')
    .option('--local-name <name>', local, collect)
    .action((flags: InitFlags) => write('agent', flags))
  add('service', 'one service of a private network, for programs in the cloud')
    .requiredOption('--service <host:port>', 'the service, as the private network knows it')
    .requiredOption('--allow <address>', 'address or CIDR that may connect; may be repeated', collect)
    .option('--listen <host:port>', 'where the VM listens for it', '0.0.0.0:8443')
    .action((flags: ServiceFlags) => write('service', flags, readService(flags)))
  return command
}

async function write(kind: GatewayKind, flags: InitFlags, service?: ServiceNames): Promise<void> {
  const names = readNames(flags)
  // Into the folder where it is called, without a look at what is there.
  if (flags.out === '') throw usage('--out is empty: name a folder, new or empty')
  const { writeGateway } = await import('../gateway-init/write-gateway.ts')
  await writeGateway({ kind, names, service, folder: flags.out })
  process.stdout.write(nextSteps(kind, names, flags.out, service))
}

function readNames({ vmAddress: address, domain, localName: localNames = [] }: InitFlags): GatewayNames {
  const vmAddress = address ?? domain
  if (vmAddress === undefined) throw usage('--vm-address is missing: where the cloud VM is reached')
  for (const [option, name] of [
    ['--vm-address', vmAddress],
    ['--domain', domain],
    ...localNames.map((one) => ['--local-name', one]),
  ])
    if (name !== undefined && !isReachableName(name))
      throw usage(`${option} ${name}: is no address and no host name`)
  return { vmAddress, domain, localNames }
}

function readService({ service: target, listen, allow }: ServiceFlags): ServiceNames {
  // As the agent and the broker will read them: an IPv6 address has brackets.
  if (typeof readTarget(target) === 'string' || target.startsWith('unix:'))
    throw usage(`--service ${target}: is not host:port`)
  const { host, port } = splitHostPort(listen)
  const isPlace = host === '' || (isReachableName(host) && host.includes(':') === listen.startsWith('['))
  if (!/:\d{1,5}$/.test(listen) || !isPlace || port < 1 || port > 65_535)
    throw usage(`--listen ${listen}: is not host:port`)
  if (port === LINK_PORT) throw usage(`--listen ${listen}: ${port} is where the agent dials in`)
  for (const entry of allow)
    if (!isCidrOrAddress(entry)) throw usage(`--allow ${entry}: is neither an address nor a CIDR`)
  return { target, listen, allow }
}

/** Of a zone (`fe80::1%eth0`) nobody else knows, and 256.1.1.1 is meant to be an address. */
function isReachableName(name: string): boolean {
  return isHost(name) && !name.includes('%') && (isIP(name) !== 0 || !/^[\d.]+$/.test(name))
}

function nextSteps(
  kind: GatewayKind,
  { vmAddress, domain = vmAddress }: GatewayNames,
  folder: string,
  service: ServiceNames | undefined,
): string {
  const inner = kind === 'service' ? 'office' : 'pi0'
  const path = (name: string): string => shellWord(`${folder}/${name}`)
  const vmHost = vmAddress.includes(':') ? `[${vmAddress}]` : vmAddress
  const vmNeeds = kind === 'haproxy' ? 'haproxy, wireguard' : 'TunnelMQ in /opt/tunnelmq'
  const innerNeeds =
    kind === 'haproxy' ? 'wireguard, nftables, TunnelMQ in /opt/tunnelmq' : 'TunnelMQ in /opt/tunnelmq'
  const vmPorts = {
    haproxy: 'TCP 1883, TCP 8883 and UDP 51820',
    agent: 'TCP 1883, TCP 8883 and TCP 8884',
    service: `TCP 8884, and TCP ${splitHostPort(service?.listen ?? '').port} for ${service?.allow.join(', ')}`,
  }[kind]
  const trial =
    kind === 'service'
      ? `Programs open ${domain}:${splitHostPort(service?.listen ?? '').port}; or, with a name of their own, what ${folder}/program is for.`
      : `Devices then find the broker at ${domain}, at port 8883 with the CA ${folder}/ca.pem. The first user is admin; ${folder}/admin.password.`
  return `
1. The cloud VM (${vmNeeds}); from outside it must be reachable at ${vmPorts}:

     scp -r ${path('vm')} root@${vmHost}:gateway && ssh root@${vmAddress} gateway/install

2. ${inner} (${innerNeeds}); nothing has to be reachable there:

     scp -r ${path(inner)} ${inner}:gateway && ssh -t ${inner} sudo gateway/install

${trial}
${folder}/ca.key can sign further certificates: keep it away from both machines. docs/gateway-${
    { haproxy: 'haproxy', agent: 'agent', service: 'private-service' }[kind]
  }.md
`.trimStart()
}

function usage(message: string): TunnelMQError {
  return new TunnelMQError(ErrorCode.usage, message)
}
