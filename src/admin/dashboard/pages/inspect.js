/**
 * Why and trace, also for clients that are not there, and by topic.
 *
 * @import { View } from '../view.js'
 */
import { h } from '../dom.js'
import { card, field, select } from '../part.js'
import { tracePanel } from '../trace.js'
import { whyForm } from '../why.js'

/** @param {View} view */
export function inspectPage(view) {
  if (!view.session.may('trace')) {
    view.show(
      'Why and trace',
      h('p', { class: 'card muted' }, 'This key may not: both need scope ', h('code', {}, 'trace'), '.'),
    )
    return
  }
  const kind = select(
    [
      ['topic', 'a topic filter'],
      ['client', 'a client id'],
    ],
    'topic',
  )
  const name = h('input', {
    class: 'mono',
    'data-search': true,
    spellcheck: 'false',
    autocomplete: 'off',
    placeholder: 'sensors/#',
  })
  kind.addEventListener(
    'change',
    () => (name.placeholder = kind.value === 'topic' ? 'sensors/#' : 'client id'),
  )
  const wishOf = () => {
    if (name.value !== '') return kind.value === 'topic' ? { topic: name.value } : { client: name.value }
    name.focus()
    return undefined
  }
  view.show(
    'Why and trace',
    card('Why may a client, or may it not?', whyForm(view)),
    card(
      'Trace',
      h('div', { class: 'fields' }, field('Packets of', kind), field('Name', name, 'grow')),
      tracePanel(view, wishOf, true),
    ),
  )
}
