import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { connectionWords } from '../../../src/cli/tunnel-flags.ts'
import { agentOfHost, findAgent, sshOptions } from '../../../src/cli/tunnel-ssh-arguments.ts'

describe('the agent among the arguments of ssh', () => {
  it.each([
    ['pi7'],
    ['admin@pi7', 'uptime'],
    ['pi7.tunnel'],
    ['-v', 'pi7', '-p', '22'],
    ['-p', '2222', 'pi7'],
    ['-p2222', '-i', 'key', 'admin@pi7', 'ls', '-l'],
    ['-vNL', '8080:localhost:80', 'pi7'],
    ['-o', 'User=admin', '--', 'pi7'],
    ['strange@name@pi7'],
  ])('is found in %s', (...words) => {
    expect(findAgent(words)).toBe('pi7')
  })

  it.each([
    [[], 'which agent?'],
    [['-v'], 'which agent?'],
    [['-p', '22'], 'which agent?'],
    [['ssh://pi7'], '"ssh://pi7" is not a name'],
    [['--brokr', 'x', 'pi7'], '--brokr is not an option'],
  ])('is missed in %s', (words, expected) => {
    expect(() => findAgent(words)).toThrow(expected)
  })
})

it('takes .tunnel from the end of a host only', () => {
  expect(agentOfHost('pi7.tunnel')).toBe('pi7')
  expect(agentOfHost('pi7.tunnel.example')).toBe('pi7.tunnel.example')
})

it('quotes the proxy command so that ssh and its shell give back the same words', () => {
  const words = ['/opt/my node', `it's`, '100%h', '$HOME', '`id`', '"x"', 'a;b', 'plain', 'a\\b', '']
  const [, option = '', , alias] = sshOptions('pi7', words)
  expect(alias).toBe('HostKeyAlias=pi7.tunnel')
  // As ssh does: first its own %, then `exec` by the shell.
  const command = option.replace('ProxyCommand=', '').replaceAll('%%', '%')
  const printed = execFileSync('sh', ['-c', `printf '%s\\n' ${command}`]).toString()
  expect(printed.split('\n').slice(0, -1)).toEqual(words)
})

it('does not hand a line break to the configuration of ssh', () => {
  expect(() => sshOptions('pi7', ['a\nLocalCommand=x'])).toThrow('line break')
})

it('passes the options of the connection on, and knows none for a password', () => {
  const flags = {
    config: 'c.yaml',
    broker: 'mqtts://b',
    insecure: true,
    passwordFile: 'p',
    clientId: 'me',
  } as const
  expect(connectionWords(flags)).toEqual(
    '--config c.yaml --broker mqtts://b --password-file p --insecure --client-id me'.split(' '),
  )
})
