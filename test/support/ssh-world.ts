import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { temporaryFolder } from './broker-world.ts'
import { type Program, runProgram, startProgram } from './programs.ts'
import { type Sshd, startSshd } from './sshd.ts'
import { type EndProcess, type FaultBroker, startAgent } from './tunnel-processes.ts'

export interface SshWorld {
  readonly folder: string
  readonly sshd: Sshd
  readonly agent: EndProcess
  /** A program of OpenSSH with the user's configuration, in which `pi7.tunnel` is the device. */
  readonly start: (program: 'ssh' | 'scp' | 'sftp', ...args: readonly string[]) => Program
  readonly run: (
    program: 'ssh' | 'scp' | 'sftp',
    args: readonly string[],
    input?: string | Buffer,
  ) => Promise<string>
}

/** sshd behind an agent `pi7`. `clientBroker`: where clients connect, if not where the agent does. */
export async function openSshWorld(
  broker: Pick<FaultBroker, 'flags'>,
  clientBroker = broker,
): Promise<SshWorld> {
  const folder = await temporaryFolder()
  const sshd = await startSshd(join(folder, 'openssh'), clientBroker.flags)
  onTestFinished(() => sshd.end())
  const agent = await startAgent(broker, { ssh: sshd.target })
  return {
    folder,
    sshd,
    agent,
    start: (program, ...args) => startProgram(program, ['-F', sshd.configFile, ...args]),
    run: (program, args, input = '') => runProgram(program, ['-F', sshd.configFile, ...args], { input }),
  }
}

/** Runs a command in a shell that reads from a session; resolves with what it printed. */
export async function ask(session: Program, name: string, command: string): Promise<string> {
  // Quoted, so that the echo of a terminal is not taken for the answer.
  session.write(`echo "${name.slice(0, 1)}""${name.slice(1)}[$(${command})]"\n`)
  const [, answer = ''] = await session.said(new RegExp(`${name}\\[([^\\]]*)\\]`))
  return answer
}
