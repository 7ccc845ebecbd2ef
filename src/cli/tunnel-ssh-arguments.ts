import { nameFault } from '../config/tunnel-endpoint-syntax.ts'
import { shellWord } from './shell-word.ts'
import { TunnelExit, CommandFailure } from './tunnel-exit.ts'

/** Options of OpenSSH's ssh that take a value: getopt in ssh.c of 9.9. */
const WITH_VALUE = new Set('BDEFIJLOPQRSWbceilmopw')

/** So one can write `ssh pi7.tunnel` with the one-liner of docs/tunnels.md, and keep other hosts out of it. */
const HOST_SUFFIX = '.tunnel'

/** `pi7.tunnel` as ssh calls the agent `pi7`. */
export function agentOfHost(host: string): string {
  return host.endsWith(HOST_SUFFIX) ? host.slice(0, -HOST_SUFFIX.length) : host
}

/** The name under which the key of the device stands in known_hosts. */
export const hostOfAgent = (agent: string): string => agent + HOST_SUFFIX

/** The agent among the arguments of ssh, which stay as they are: `-v -p 22 user@pi7 uptime`. */
export function findAgent(words: readonly string[]): string {
  const destination = words[destinationIndex(words)]
  if (destination === undefined) throw usage('which agent? tunnelmq ssh [user@]agent [ssh arguments]')
  const agent = agentOfHost(destination.slice(destination.lastIndexOf('@') + 1))
  const fault = nameFault(agent)
  if (fault !== undefined) throw usage(fault)
  return agent
}

function destinationIndex(words: readonly string[]): number {
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    if (word === '--') return index + 1
    if (word.startsWith('--')) {
      throw usage(`${word} is not an option of ours (tunnelmq ssh --help), nor one of ssh`)
    }
    if (!word.startsWith('-') || word === '-') return index
    // Several letters may stand together, the last of them with its value, or with that in the next word.
    const letter = word
      .slice(1)
      .split('')
      .findIndex((one) => WITH_VALUE.has(one))
    if (letter === word.length - 2) index++
  }
  return words.length
}

/**
 * What ssh puts before its own arguments. The proxy command is for a POSIX shell, after ssh has replaced `%`.
 * HostKeyAlias: `ssh pi7.tunnel` and `tunnelmq ssh pi7` are one host, and not one of the network that is called `pi7`.
 */
export function sshOptions(agent: string, proxyCommand: readonly string[]): readonly string[] {
  const command = proxyCommand.map(shellQuoted).join(' ').replaceAll('%', '%%')
  return ['-o', `ProxyCommand=${command}`, '-o', `HostKeyAlias=${hostOfAgent(agent)}`]
}

function shellQuoted(word: string): string {
  // ssh reads the option as a line of its configuration.
  if (/[\n\r\0]/.test(word)) throw usage('a line break in an option cannot be handed to ssh')
  return shellWord(word)
}

function usage(message: string): CommandFailure {
  return new CommandFailure(TunnelExit.usage, message)
}
