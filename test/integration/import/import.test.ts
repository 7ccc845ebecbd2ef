import { execFile } from 'node:child_process'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadConfig } from '../../../src/config/load.ts'
import { importConfig, writeImport } from '../../../src/import/import.ts'
import { createSilentLog } from '../../../src/log.ts'
import { startBroker } from '../../../src/main.ts'
import { temporaryFolder } from '../../support/broker-world.ts'
import { startMosquitto } from '../../support/mosquitto.ts'
import { runCli } from '../../support/run-cli.ts'

const run = promisify(execFile)

const acl = `topic read public/#
user alice
topic readwrite home/#
topic deny home/secret
user bob
topic write in/bob
pattern readwrite devices/%u/#
pattern read end/%c
`

const topics = ['home/a', 'home/secret', 'in/bob', 'public/x', 'other']

/** What each client can read and write at a broker, as mosquitto's own programs see it. */
async function behaviour(port: number): Promise<Record<string, string>> {
  const to = ['-p', String(port), '-V', 'mqttv311', '-q', '1']
  const root = [...to, '-u', 'root', '-P', 'root']
  const retain = (topic: string, payload: string) =>
    run('mosquitto_pub', [...root, '-t', topic, '-r', ...(payload === '' ? ['-n'] : ['-m', payload])])
  /** The first of both that it is given: everyone may read `end/<client id>`, which is asked for last. */
  const first = (credentials: string[], id: string, topic: string) =>
    run('mosquitto_sub', [...to, ...credentials, '-i', id, '-t', topic, '-t', `end/${id}`, '-C', '1']).then(
      ({ stdout }) => stdout.trim(),
      () => 'refused',
    )
  const clients = {
    alice: ['-u', 'alice', '-P', 'wonder'],
    bob: ['-u', 'bob', '-P', 'builder'],
    mallory: ['-u', 'alice', '-P', 'guess'],
    nobody: [],
  }
  const results: Record<string, string> = {}
  await retain('end/root', 'end')
  for (const [name, credentials] of Object.entries(clients)) {
    await retain(`end/${name}`, 'end')
    for (const topic of [...topics, `devices/${name}/x`]) {
      await retain(topic, 'readable')
      results[`${name} reads ${topic}`] = await first(credentials, name, topic)
      await retain(topic, '')
      const publish = [...to, ...credentials, '-t', topic, '-m', 'written', '-r']
      const code = await run('mosquitto_pub', publish).then(
        () => 'accepted',
        () => 'refused',
      )
      results[`${name} writes ${topic}`] = `${code}, ${await first(root.slice(5), 'root', topic)}`
      await retain(topic, '')
    }
  }
  return results
}

async function mosquittoFolder(): Promise<string> {
  const folder = await temporaryFolder()
  await writeFile(join(folder, 'acl'), `${acl}user root\ntopic readwrite #\n`)
  const passwords = join(folder, 'passwords')
  await run('mosquitto_passwd', ['-c', '-b', passwords, 'alice', 'wonder'])
  await run('mosquitto_passwd', ['-b', passwords, 'bob', 'builder'])
  await run('mosquitto_passwd', ['-b', passwords, 'root', 'root'])
  return folder
}

describe('tunnelmq import mosquitto', () => {
  it('makes a broker that allows and refuses what mosquitto does', async () => {
    const folder = await mosquittoFolder()
    const lines = [`password_file ${folder}/passwords`, `acl_file ${folder}/acl`, 'allow_anonymous true']
    const mosquitto = await startMosquitto({ lines })
    await writeFile(join(folder, 'mosquitto.conf'), ['listener 0 127.0.0.1', ...lines].join('\n'))

    const result = await importConfig('mosquitto', join(folder, 'mosquitto.conf'))
    const [file] = await writeImport(result, join(folder, 'new'))
    // A listener that is a socket there is a port here: the test wants a free one.
    const yaml = (await readFile(file!, 'utf8')).replace(/type: unix\n\s+path: .*/, 'type: tcp\n    port: 0')
    await writeFile(file!, yaml)
    // Who guesses is banned here, and not there.
    const overrides = ['admin.enabled=false', 'limits.banFailures=0']
    const { config } = await loadConfig({ file: file!, env: {}, overrides })
    const broker = await startBroker({ config, log: createSilentLog() })
    onTestFinished(() => broker.stop())

    const ours = await behaviour(Number(new URL(broker.listeners[0]!.url).port))
    const theirs = await behaviour(mosquitto.port)
    expect(Object.keys(ours)).toHaveLength(48)
    expect(new Set(Object.values(theirs)).size).toBeGreaterThan(3)
    expect(ours).toEqual(theirs)
  })

  it('is told as a command: report, folder, check, and nothing overwritten', async () => {
    const folder = await mosquittoFolder()
    const conf = join(folder, 'mosquitto.conf')
    await mkdir(join(folder, 'conf.d'))
    await writeFile(conf, 'listener 1883\npassword_file passwords\nplugin /x.so\ninclude_dir conf.d\n')
    await writeFile(
      join(folder, 'conf.d', 'bridge.conf'),
      'connection up\naddress h:1883\ntopic # out\nremote_password s3cret\nremote_username u\n',
    )

    const checked = await runCli(['import', 'mosquitto', conf, '--check'])
    expect(checked.code).toBe(1)
    expect(checked.stdout).toMatch(/NOT carried over[^]*mosquitto\.conf:3 {2}plugin: [^]*Carried over/)
    expect(checked.stdout).toContain('without an acl-file everyone with a password may do everything')

    const out = join(folder, 'out')
    const written = await runCli(['import', 'mosquitto', conf, '--out', out])
    expect(written).toMatchObject({ code: 0, stderr: '' })
    expect(await readFile(join(out, 'bridge-up.password'), 'utf8')).toBe('s3cret\n')
    expect(await readFile(join(out, 'tunnelmq.yaml'), 'utf8')).not.toContain('s3cret')
    expect((await stat(join(out, 'bridge-up.password'))).mode & 0o007).toBe(0)
    expect(await runCli(['config', 'check', join(out, 'tunnelmq.yaml')])).toMatchObject({ code: 0 })
    const again = await runCli(['import', 'mosquitto', conf, '--out', out])
    expect(again.code).toBe(1)
    expect(again.stderr).toContain('tunnelmq.yaml')
    const json = await runCli(['import', 'mosquitto', conf, '--check', '--json'])
    expect(
      json.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toContainEqual(expect.objectContaining({ effect: 'lost', key: 'plugin', line: 3 }))
  })

  it('takes an access list or a password file alone', async () => {
    const folder = await mosquittoFolder()
    const list = await importConfig('mosquitto', join(folder, 'acl'))
    expect(list.yaml).toMatch(/type: acl-file\n\s+file: \.\/acl\.txt\n\s+dialect: mosquitto/)
    expect(list.files).toEqual([{ name: 'acl.txt', text: await readFile(join(folder, 'acl'), 'utf8') }])
    const passwords = await importConfig('vernemq', join(folder, 'passwords'))
    expect(passwords.yaml).toMatch(/type: password-file\n\s+file: \.\/passwords\.txt/)
    const lost = [...list.notes, ...passwords.notes].filter(({ effect }) => effect === 'lost')
    expect(lost).toEqual([])
  })

  it('names what cannot be read', async () => {
    const missing = await runCli(['import', 'mosquitto', '/no/such/file.conf'])
    expect(missing).toMatchObject({ code: 1, stdout: '' })
    expect(missing.stderr).toContain('/no/such/file.conf cannot be read')
    expect((await runCli(['import', 'hivemq', 'x'])).code).toBe(2)
  })
})

describe('tunnelmq import vernemq', () => {
  it('makes a configuration that starts, with lines commented out that cannot be used', async () => {
    const folder = await temporaryFolder()
    await mkdir(join(folder, 'conf.d'))
    await writeFile(
      join(folder, 'vernemq.conf'),
      '## ours\nallow_anonymous = off # not for all\nlistener.tcp.default = 127.0.0.1:0\ninclude conf.d/*.conf\n',
    )
    await writeFile(join(folder, 'conf.d', 'more.conf'), 'max_inflight_messages = 33\n')
    await writeFile(
      join(folder, 'vmq.acl'),
      'topic all\nuser eve\ntopic write eve/#\nbad line\nuser \ntopic #\n',
    )
    await run('mosquitto_passwd', ['-c', '-b', '-H', 'sha512', join(folder, 'vmq.passwd'), 'eve', 'apple'])
    await writeFile(
      join(folder, 'vmq.passwd'),
      `${await readFile(join(folder, 'vmq.passwd'), 'utf8')}ada:plain-secret\n`,
    )

    const result = await importConfig('vernemq', join(folder, 'vernemq.conf'))
    const lost = result.notes.filter(({ effect }) => effect === 'lost')
    expect(lost.map(({ key, line }) => `${key}:${line}`)).toEqual([
      'vmq.passwd:2',
      'vmq.acl:4',
      'vmq.acl:5',
      'vmq.acl:6',
    ])
    const [file] = await writeImport(result, join(folder, 'new'))
    const carried = await readFile(join(folder, 'new', 'acl.txt'), 'utf8')
    expect(carried).toBe(
      'topic all\nuser eve\ntopic write eve/#\n# not carried over: bad line\n# not carried over: user\n# not carried over: topic #\n',
    )
    expect(await readFile(join(folder, 'new', 'passwords.txt'), 'utf8')).not.toContain('plain-secret')

    const { config } = await loadConfig({ file: file!, env: {}, overrides: ['admin.enabled=false'] })
    expect(config.limits.maxInflight).toBe(33)
    const broker = await startBroker({ config, log: createSilentLog() })
    onTestFinished(() => broker.stop())
    const port = new URL(broker.listeners[0]!.url).port
    const publish = (password: string) =>
      run('mosquitto_pub', ['-p', port, '-u', 'eve', '-P', password, '-t', 'eve/1', '-m', 'x', '-q', '1'])
    await publish('apple')
    await expect(publish('pear')).rejects.toThrow(/not authori[sz]ed|bad user|refused/i)
  })
})
