import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { environmentNames, pathOfVariable, toVariableWord } from '../../../src/config/environment-names.ts'
import { listenerName } from '../../../src/config/listener-name.ts'
import { nearest } from '../../../src/config/nearest.ts'
import {
  hostsOverlap,
  isCidrOrAddress,
  isHost,
  isLoopback,
  isOrigin,
} from '../../../src/config/network-names.ts'
import { configSchema } from '../../../src/config/schema.ts'
import { createSchemaTree, nodeAt } from '../../../src/config/schema-tree.ts'

const root = createSchemaTree()

describe('environment names', () => {
  it('have one meaning each', () => {
    const names = [...new Set(environmentNames(root, ''))].filter((name) => name !== 'TUNNELMQ')
    expect(names.length).toBeGreaterThan(60)
    for (const name of names) {
      const path = pathOfVariable(name.slice('TUNNELMQ_'.length), root, undefined)
      expect(path, name).toBeDefined()
      expect(nodeAt(root, path ?? [], undefined), name).toBeDefined()
      expect(['TUNNELMQ', ...(path ?? []).map((key) => toVariableWord(String(key)))].join('_')).toBe(name)
    }
  })
})

describe('nearest', () => {
  it('finds a word with one letter wrong, missing, too many or swapped', () => {
    const words = ['port', 'maxPacketBytes', 'allowAnonymous', 'handlers']
    expect(nearest('prot', words)).toBe('port')
    expect(nearest('maxPaketBytes', words)).toBe('maxPacketBytes')
    expect(nearest('allow_anonymous', words)).toBe('allowAnonymous')
    expect(nearest('handller', words)).toBe('handlers')
  })

  it('suggests nothing for another word', () => {
    expect(nearest('zebra', ['port', 'host'])).toBeUndefined()
    expect(nearest('', ['port'])).toBeUndefined()
  })

  it('finds every word itself, whatever else there is', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, selector: (word) => word.toLowerCase() }),
        (words) => {
          for (const word of words) expect(nearest(word, words)?.toLowerCase()).toBe(word.toLowerCase())
        },
      ),
    )
  })
})

describe('network names', () => {
  it.each(['10.0.0.0/8', '10.1.2.3', 'fd00::/8', '::1', '0.0.0.0/0', '::/128'])(
    'takes %s as a CIDR',
    (text) => {
      expect(isCidrOrAddress(text)).toBe(true)
    },
  )
  it.each([
    '10.0.0.0/33',
    '10.0.0/8',
    'fd00::/129',
    'example.com',
    '10.0.0.0/',
    '10.0.0.0/-1',
    'fe80::1%eth0',
    '',
  ])('does not take %s as a CIDR', (text) => {
    expect(isCidrOrAddress(text)).toBe(false)
  })
  it('knows what is loopback', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '::ffff:127.0.0.1'])
      expect(isLoopback(host)).toBe(true)
    for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.example.com', 'localhost.example.com'])
      expect(isLoopback(host)).toBe(false)
  })
  it('knows hosts from everything else', () => {
    for (const host of ['a.example', 'my-host', '::', '1.2.3.4']) expect(isHost(host)).toBe(true)
    for (const host of ['a b', 'http://x', 'x:1883', '[::1]', '']) expect(isHost(host)).toBe(false)
  })
  it('knows origins as browsers send them', () => {
    for (const origin of [
      'https://a.example',
      'http://localhost:8080',
      'http://[::1]:80',
      'capacitor://localhost',
    ])
      expect(isOrigin(origin)).toBe(true)
    for (const origin of [
      'https://a.example/',
      'a.example',
      'https://A.example',
      'https://',
      'https://a b',
      'https://*.example',
    ])
      expect(isOrigin(origin)).toBe(false)
  })
  it('sees that a wildcard host takes the port of every other', () => {
    expect(hostsOverlap('0.0.0.0', '127.0.0.1')).toBe(true)
    expect(hostsOverlap('10.0.0.1', '127.0.0.1')).toBe(false)
  })
})

describe('listenerName', () => {
  it('is the name, or made of type and port or path', () => {
    const { listeners } = configSchema.parse({
      listeners: [
        { type: 'tcp', port: 1883 },
        { type: 'ws', port: 1, name: 'browsers' },
        { type: 'unix', path: '/run/my mqtt.sock' },
      ],
    })
    expect(listeners.map(listenerName)).toEqual(['tcp-1883', 'browsers', 'unix-my_mqtt.sock'])
  })
})
