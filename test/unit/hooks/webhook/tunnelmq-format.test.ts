import { describe, expect, it } from 'vitest'
import { createTunnelmqFormat } from '../../../../src/hooks/webhook/tunnelmq-format.ts'
import { fakeMessage, fakeSession } from '../fakes.ts'

const format = createTunnelmqFormat({
  payload: 'none',
  sendCertificatePem: false,
  headers: {},
  mountpoint: '',
  onIgnored() {},
})

describe('our format for webhooks', () => {
  it('says what MQTT 5 says, and nothing of it where there is nothing', () => {
    const session = { ...fakeSession(), properties: { userProperties: [['a', 'b'] as const] } }
    const message = {
      ...fakeMessage('t'),
      properties: { contentType: 'x/y', correlationData: Buffer.of(1) },
      messageExpirySeconds: 5,
    }
    const body = (of: typeof message | ReturnType<typeof fakeMessage>, from = session): unknown =>
      JSON.parse(format.request(from, { hook: 'authPublish', message: of }).body)
    expect(body(message)).toMatchObject({
      connectUserProperties: [['a', 'b']],
      contentType: 'x/y',
      messageExpirySeconds: 5,
    })
    expect(body(message)).not.toHaveProperty('correlationData')
    expect(body(fakeMessage('t'))).not.toHaveProperty('contentType')
  })

  it('takes a reason code and a text for the client with a refusal', () => {
    const read = (answer: object) =>
      format.answer(JSON.stringify(answer), fakeSession(), { hook: 'authConnect' })
    expect(read({ result: 'deny', reasonCode: 0x97, reasonString: 'later' })).toMatchObject({
      verdict: 'deny',
      details: { reasonCode: 0x97, reasonString: 'later' },
    })
    expect(read({ result: 'deny' })).not.toHaveProperty('details')
    expect(() => read({ result: 'deny', reasonCode: 'many' })).toThrow('reasonCode is not a number')
  })
})
