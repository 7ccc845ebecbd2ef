import { isIPv6 } from 'node:net'
import { splitHostPort } from '../config/network-names.ts'
import type { Certificate } from './certificate.ts'
import type { WireguardKeys } from './wireguard-keys.ts'

/** What a gateway is made of, as data: which files each machine gets, and what stands in them. */

export type GatewayKind = 'haproxy' | 'agent' | 'service'

export interface GatewayNames {
  /** Address or name at which the cloud VM is reached. */
  readonly vmAddress: string
  /** Name by which devices know the VM, if it has one. */
  readonly domain: string | undefined
  /** Further names and addresses of pi0, for devices at home. */
  readonly localNames: readonly string[]
}

/** Of `service`: what is reached, where it appears on the VM, and for whom. */
export interface ServiceNames {
  /** `host:port`, as the agent in the private network reaches it. */
  readonly target: string
  /** `host:port` or `:port` on the VM. */
  readonly listen: string
  /** Addresses and CIDRs. */
  readonly allow: readonly string[]
}

/** Made on the spot, and different each time. */
export interface GatewaySecrets {
  /** base64 of 32 bytes. */
  readonly presharedKey: string
  readonly vmKeys: WireguardKeys
  readonly pi0Keys: WireguardKeys
  /** Of the agent at the VM's broker, as text and as its line in a password file. */
  readonly agentPassword: string
  readonly agentHash: string
  /** Of the first user: `admin` of pi0's broker, or `program` in the cloud. */
  readonly userPassword: string
  readonly userHash: string
  readonly authority: Certificate
  /** For {@link serverNames}. */
  readonly server: Certificate
}

export interface GatewayFile {
  /** `vm/haproxy.cfg` */
  readonly path: string
  readonly content: { readonly template: string } | { readonly text: string }
}

/** In the tunnel of WireGuard: a range that few home networks use, and no provider routes. */
const VM_TUNNEL_ADDRESS = '10.200.200.1'
const PI0_TUNNEL_ADDRESS = '10.200.200.2'
/** Where the agent dials in; 1883 and 8883 belong to devices. */
export const LINK_PORT = 8_884

/** What the certificate of a gateway has to name. */
export function serverNames(kind: GatewayKind, { vmAddress, domain, localNames }: GatewayNames): string[] {
  const local = kind === 'service' ? [] : ['pi0', 'pi0.local', 'localhost', '127.0.0.1', ...localNames]
  return [...new Set([domain ?? vmAddress, vmAddress, ...local])]
}

/** The words between two `@` in the templates of deploy/gateway. */
export function templateValues(
  { vmAddress }: GatewayNames,
  secrets: GatewaySecrets,
  service?: ServiceNames,
): Readonly<Record<string, string>> {
  const endpoint = isIPv6(vmAddress) ? `[${vmAddress}]` : vmAddress
  return {
    VM_TUNNEL_ADDRESS,
    PI0_TUNNEL_ADDRESS,
    VM_ENDPOINT: endpoint,
    VM_PRIVATE_KEY: secrets.vmKeys.privateKey,
    VM_PUBLIC_KEY: secrets.vmKeys.publicKey,
    PI0_PRIVATE_KEY: secrets.pi0Keys.privateKey,
    PI0_PUBLIC_KEY: secrets.pi0Keys.publicKey,
    PRESHARED_KEY: secrets.presharedKey,
    LINK_URL: `mqtts://${endpoint}:${LINK_PORT}`,
    ...(service && {
      SERVICE: service.target,
      LISTEN: service.listen,
      SERVICE_PORT: String(splitHostPort(service.listen).port),
      ALLOW: service.allow.join("', '"),
      ALLOW_RULES: service.allow
        .map((entry) => `    ${entry.includes(':') ? 'ip6' : 'ip'} saddr ${entry} accept`)
        .join('\n'),
    }),
  }
}

const installer: GatewayFile['content'] = { template: 'install' }

/** Every file, in the order in which it is written. */
export function gatewayFiles(kind: GatewayKind, secrets: GatewaySecrets): GatewayFile[] {
  const { authority, server } = secrets
  const text = (path: string, content: string): GatewayFile => ({ path, content: { text: content } })
  const from = (folder: string, ...paths: string[]): GatewayFile[] =>
    paths.map((path) => ({ path, content: { template: `${folder}/${path}` } }))
  const serverCertificate = (machine: string): GatewayFile[] => [
    text(`${machine}/server.pem`, server.certificatePem),
    text(`${machine}/server.key`, server.keyPem),
  ]
  const authorityFiles = [text('ca.pem', authority.certificatePem), text('ca.key', authority.keyPem)]
  const pi0Broker = [
    ...serverCertificate('pi0'),
    text('pi0/passwords', `admin:${secrets.userHash}\n`),
    text('admin.password', `${secrets.userPassword}\n`),
  ]
  const agentAt = (machine: string): GatewayFile[] => [
    { path: `${machine}/install`, content: installer },
    text(`${machine}/agent.password`, `${secrets.agentPassword}\n`),
    text(`${machine}/broker.pem`, authority.certificatePem),
  ]
  const vmBroker = (users: string): GatewayFile[] => [
    { path: 'vm/install', content: installer },
    ...serverCertificate('vm'),
    text('vm/passwords', users),
  ]
  switch (kind) {
    case 'haproxy':
      return [
        ...from('haproxy-wireguard', 'vm/wg0.conf', 'vm/haproxy.cfg', 'vm/firewall.nft'),
        ...from('haproxy-wireguard', 'pi0/wg0.conf', 'pi0/wg0.nft', 'pi0/tunnelmq.yaml', 'pi0/acl'),
        { path: 'vm/install', content: installer },
        { path: 'pi0/install', content: installer },
        ...pi0Broker,
        ...authorityFiles,
      ]
    case 'agent':
      return [
        ...from('agent', 'vm/tunnelmq.yaml', 'vm/acl', 'vm/firewall.nft'),
        ...from('agent', 'pi0/agent.yaml', 'pi0/tunnelmq.yaml', 'pi0/acl'),
        ...vmBroker(`pi0:${secrets.agentHash}\n`),
        ...agentAt('pi0'),
        ...pi0Broker,
        ...authorityFiles,
      ]
    case 'service':
      return [
        ...from('private-service', 'vm/tunnelmq.yaml', 'vm/acl', 'vm/firewall.nft'),
        ...from('private-service', 'office/agent.yaml', 'program/client.yaml'),
        ...vmBroker(`office:${secrets.agentHash}\nprogram:${secrets.userHash}\n`),
        ...agentAt('office'),
        text('program/password', `${secrets.userPassword}\n`),
        text('program/broker.pem', authority.certificatePem),
        ...authorityFiles,
      ]
    default:
      return kind satisfies never
  }
}
