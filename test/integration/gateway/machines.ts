import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it, vi } from 'vitest'
import { gatewayCommand } from '../../../src/cli/gateway.ts'
import { PATIENCE } from '../../support/eventually.ts'
import {
  isWithoutNamespaces,
  machineFault,
  type MachineProgram,
  type Place,
} from '../../support/netns-machine.ts'
import { runCommand } from '../../support/run-command.ts'

/** What `tunnelmq gateway init` has written, put into place on machines of a test as its page says. */

const checkout = fileURLToPath(new URL('../../..', import.meta.url))
const program = join(checkout, 'dist/cli/index.js')

/** Where the machine forbids namespaces this fails, unless it was told to do without: then it says what is not run. */
export function itHasMachines(withoutThem: string): void {
  it('has machines for that, or was told that it has not', () => {
    if (isWithoutNamespaces) return console.warn(`TUNNELMQ_TEST_NO_NETNS=1: ${withoutThem}`)
    const fault = machineFault()
    expect(fault, 'network namespaces are needed (root); or set TUNNELMQ_TEST_NO_NETNS=1').toBeUndefined()
  })
}

/** Into `gateway` of that folder. */
export async function initGateway(folder: string, words: readonly string[]): Promise<string> {
  const out = join(folder, 'gateway')
  const { error, stderr } = await runCommand(gatewayCommand(), ['init', ...words, '--out', out])
  if (error !== undefined) throw new Error(`gateway init: ${error.message} ${stderr}`)
  return out
}

/** A gateway between the cloud VM and pi0, installed on both below the folders that are returned. */
export async function installHomeGateway(folder: string, words: readonly string[]) {
  const out = await initGateway(folder, words)
  const [atVm, atPi0] = await Promise.all([install(out, 'vm'), install(out, 'pi0')])
  return { out, atVm, atPi0, user: await mosquittoUser(out) }
}

/** Runs the `install` of one machine's folder; what it installs is below the folder that is returned. */
export async function install(out: string, machine: string): Promise<string> {
  const root = join(out, `root-of-${machine}`)
  await promisify(execFile)(join(out, machine, 'install'), {
    env: { PATH: process.env['PATH'], DESTDIR: root, TUNNELMQ: checkout },
  })
  return root
}

const quiet = ['log.level=debug', 'log.format=json', 'shutdown.drainMs=0', 'sysIntervalMs=0']

/** With the configuration that was installed there; resolves when it is ready. */
export async function startBroker(machine: Place, root: string, more: readonly string[] = []) {
  const key = `admin.localKeyFile=${join(root, 'admin.key')}`
  const settings = [...quiet, key, ...more].flatMap((setting) => ['--set', setting])
  const config = join(root, 'etc/tunnelmq/tunnelmq.yaml')
  const broker = machine.start([process.execPath, program, 'broker', '--config', config, ...settings], {
    folder: root,
  })
  await broker.said(/"msg":"ready"/)
  return broker
}

/** As the unit would; resolves when it is connected. */
export async function startAgent(
  machine: Place,
  root: string,
  more: readonly string[] = [],
): Promise<MachineProgram> {
  const config = join(root, 'etc/tunnelmq/agent.yaml')
  const agent = machine.start([process.execPath, program, 'agent', '--config', config, ...more], {
    env: { TUNNEL_PASSWORD_FILE: join(root, 'etc/tunnelmq/agent.password') },
  })
  await agent.said(/tunnel agent connected/)
  return agent
}

export function startTunnelmq(machine: Place, words: readonly string[]): MachineProgram {
  return machine.start([process.execPath, program, ...words])
}

/** Words for mosquitto's clients: the first user of pi0, under a client id. */
export async function mosquittoUser(
  out: string,
): Promise<(id: string, host: string, port: number) => string[]> {
  const password = (await readFile(join(out, 'admin.password'), 'utf8')).trim()
  return (id, host, port) => {
    const tls = port === 8883 ? ['--cafile', join(out, 'ca.pem')] : []
    return ['-i', id, '-h', host, '-p', String(port), '-u', 'admin', '-P', password, '-q', '1', ...tls]
  }
}

/** Resolves when the subscription holds. */
export async function subscribe(machine: Place, words: readonly string[]): Promise<MachineProgram> {
  // It says so at once only to a terminal.
  const subscriber = machine.start(['stdbuf', '-oL', 'mosquitto_sub', '-d', ...words])
  await subscriber.said(/Subscribed/)
  return subscriber
}

/** Resolves when this holds there, in a shell. */
export async function until(machine: Place, condition: string): Promise<void> {
  await machine.run(['timeout', '30', 'sh', '-c', `until ${condition}; do sleep 0.02; done`])
}

/** Of one client in a broker's log, in order: what happened, and from where. */
export function linesOf(broker: MachineProgram, client: string): Readonly<Record<string, unknown>>[] {
  return broker.events.filter(({ client: id, msg }) => id === client && String(msg).startsWith('client '))
}

/** What a program logs comes a little later than what it does. */
export async function soon(assertion: () => void): Promise<void> {
  await vi.waitFor(assertion, PATIENCE)
}

/** That it was connected once, from there, and is still. */
export async function expectConnectedOnce(
  broker: MachineProgram,
  client: string,
  from: object,
): Promise<void> {
  await soon(() =>
    expect(linesOf(broker, client)).toEqual([expect.objectContaining({ msg: 'client connected', ...from })]),
  )
}
