/**
 * The question why a client may do something, or may not, and its answer.
 *
 * @import { Explanation } from '../api/resources.ts'
 * @import { View } from './view.js'
 */
import { fill, h } from './dom.js'
import { orMissing, visible } from './format.js'
import { reasonOf } from './notice.js'
import { badge, facts, field, select } from './part.js'

const MOODS = /** @type {const} */ ({
  allowed: 'good',
  refused: 'bad',
  failed: 'bad',
  none: 'plain',
  'not asked': 'plain',
})

/**
 * @param {View} view
 * @param {{ id: string, mountpoint: string }} [client]  undefined: the form asks for it
 */
export function whyForm(view, client) {
  const id = h('input', { required: true, spellcheck: 'false', autocomplete: 'off' })
  const username = h('input', { spellcheck: 'false', autocomplete: 'off', placeholder: 'as last seen' })
  const address = h('input', { spellcheck: 'false', autocomplete: 'off', placeholder: 'as last seen' })
  const action = select(
    [
      ['publish', 'publish to'],
      ['subscribe', 'subscribe to'],
      ['open', 'open a stream to'],
      ['connect', 'connect'],
    ],
    'publish',
  )
  const topic = h('input', { required: true, spellcheck: 'false', autocomplete: 'off', class: 'mono' })
  const qos = select(
    [
      ['0', 'QoS 0'],
      ['1', 'QoS 1'],
      ['2', 'QoS 2'],
    ],
    '0',
  )
  const retain = h('input', { type: 'checkbox' })
  const topicField = field('Topic', topic, 'grow')
  const qosField = field('QoS', qos)
  const retainField = field('Retain', retain, 'check')
  const answer = h('div', { class: 'answer', role: 'status' })
  const ask = h('button', { type: 'submit', class: 'primary' }, 'Why?')

  const suit = () => {
    topicField.hidden = action.value === 'connect'
    topic.required = action.value !== 'connect'
    topic.placeholder =
      action.value === 'open' ? 'agent/service' : action.value === 'subscribe' ? 'sensors/#' : 'sensors/1'
    qosField.hidden = action.value !== 'publish' && action.value !== 'subscribe'
    retainField.hidden = action.value !== 'publish'
  }
  action.addEventListener('change', suit)
  suit()

  /** @param {Event} event */
  const onsubmit = async (event) => {
    event.preventDefault()
    ask.disabled = true
    try {
      const isQosAsked = !qosField.hidden
      const explanation = await view.api.why({
        client: client?.id ?? id.value,
        ...(client && { mountpoint: client.mountpoint }),
        action: action.value,
        ...(action.value !== 'connect' && { topic: topic.value }),
        ...(isQosAsked && { qos: Number(qos.value) }),
        ...(!retainField.hidden && { retain: retain.checked }),
        ...(!client && username.value !== '' && { username: username.value }),
        ...(!client && address.value !== '' && { address: address.value }),
      })
      fill(answer, explained(explanation))
    } catch (error) {
      fill(answer, h('p', { class: 'error' }, reasonOf(error)))
    }
    ask.disabled = false
  }
  return h(
    'form',
    { onsubmit },
    h(
      'div',
      { class: 'fields' },
      !client && field('Client id', id, 'grow'),
      !client && field('User name', username),
      !client && field('Address', address),
      field('May it', action),
      topicField,
      qosField,
      retainField,
      ask,
    ),
    answer,
  )
}

/** @param {Explanation} explanation */
function explained({ allowed, summary, client, steps, effective }) {
  const rewritten = [
    effective.topic !== null && `topic ${visible(effective.topic)}`,
    effective.qos !== null && `QoS ${effective.qos}`,
    effective.retain !== null && (effective.retain ? 'retained' : 'not retained'),
  ].filter((part) => part !== false)
  const from = client.addressFrom === null ? '' : ` (${client.addressFrom})`
  return [
    h(
      'p',
      { class: 'verdict' },
      badge(allowed ? 'allowed' : 'refused', allowed ? 'good' : 'bad'),
      ' ',
      visible(summary, 2_000),
    ),
    h(
      'ol',
      { class: 'steps' },
      steps.map(({ by, opinion, rule, reason, isCached }) =>
        h(
          'li',
          {},
          badge(opinion, MOODS[opinion]),
          h('b', {}, visible(by)),
          h(
            'span',
            {},
            [rule, reason]
              .filter((part) => part !== null)
              .map((part) => visible(part, 1_000))
              .join(' · '),
            isCached && ' (from the cache)',
          ),
        ),
      ),
    ),
    facts([
      ['Client', `${visible(client.id)} (${client.state})`],
      ['User name', orMissing(client.username)],
      ['Address', `${orMissing(client.address)}${from}`],
      ['Listener', orMissing(client.listener)],
      ['Effective', rewritten.length === 0 ? 'as asked' : rewritten.join(', ')],
    ]),
  ]
}
