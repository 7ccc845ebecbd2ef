/**
 * Dialogs about identities, groups and roles, and the one that shows a secret.
 *
 * @import { Child } from './dom.js'
 * @import { View } from './view.js'
 * @import { Group, Identity, Role } from '../api/identity-resources.ts'
 */
import { copyable } from './copy.js'
import { openDialog } from './dialog.js'
import { h, setText } from './dom.js'
import { visible } from './format.js'
import { readNames, readRules, rulesText } from './identity-rules.js'
import { reasonOf } from './notice.js'
import { field } from './part.js'

/** @param {string} title @param {string} secret @param {string} text */
export function showSecret(title, secret, text) {
  openDialog(title, {
    body: [h('p', {}, `${text} It is shown only now.`), copyable(secret, 'the secret')],
    kind: 'small',
  })
}

/**
 * A dialog that stays open, with the reason, until it is done or closed.
 *
 * @param {string} title
 * @param {readonly Child[]} body
 * @param {string} action
 * @param {() => Promise<unknown>} submit
 * @param {() => void} done
 */
function openForm(title, body, action, submit, done) {
  const wrong = h('p', { class: 'error', role: 'alert', hidden: true })
  const send = h('button', { type: 'submit', form: 'identity-form' }, action)
  /** @param {Event} event */
  const onsubmit = async (event) => {
    event.preventDefault()
    send.disabled = true
    try {
      await submit()
      dialog.close()
      done()
    } catch (error) {
      setText(wrong, reasonOf(error))
      wrong.hidden = false
      send.disabled = false
    }
  }
  const dialog = openDialog(title, {
    body: [h('form', { id: 'identity-form', class: 'dialog-body', onsubmit }, body, wrong)],
    actions: [send],
  })
}

/** @param {string} [value] @param {Record<string, string | number | boolean>} [more] */
function input(value = '', more = {}) {
  return h('input', { value, spellcheck: 'false', autocomplete: 'off', ...more })
}

/** 144 random bits. */
function makePassword() {
  const bytes = crypto.getRandomValues(new Uint8Array(18))
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
}

/** Of a new identity, or of one that there is. @param {View} view @param {() => void} done @param {Identity} [before] */
export function identityForm(view, done, before) {
  const name = input('', { required: true, maxlength: 128 })
  const clientId = input(before?.clientId ?? '', { placeholder: 'any', maxlength: 256 })
  const groups = input(before?.groups.join(', '), { placeholder: 'names, with commas' })
  const roles = input(before?.roles.join(', '), { placeholder: 'names, with commas' })
  const description = input(before?.description, { maxlength: 512 })
  const password = makePassword()
  const submit = () => {
    const body = {
      clientId: clientId.value === '' ? null : clientId.value,
      groups: readNames(groups.value),
      roles: readNames(roles.value),
      description: description.value,
    }
    return before
      ? view.api.changeIdentity(before, body)
      : view.api.createIdentity({ ...body, name: name.value, password })
  }
  openForm(
    before ? `Change ${visible(before.name, 60)}` : 'New identity',
    [
      !before && field('Name: the MQTT user name', name),
      field('Client id, if it may have only one', clientId),
      field('Groups', groups),
      field('Roles', roles),
      field('Description', description),
    ],
    before ? 'Change' : 'Create',
    submit,
    () => {
      if (!before) showSecret(`${visible(name.value, 60)} is made`, password, 'This is its password.')
      done()
    },
  )
}

/** @param {View} view @param {() => void} done @param {Group} [before] */
export function groupForm(view, done, before) {
  const name = input('', { required: true, maxlength: 128 })
  const roles = input(before?.roles.join(', '), { placeholder: 'names, with commas' })
  const description = input(before?.description, { maxlength: 512 })
  const submit = () => {
    const body = { roles: readNames(roles.value), description: description.value }
    return view.api.putGroup(before ?? { name: name.value }, body)
  }
  openForm(
    before ? `Change group ${visible(before.name, 60)}` : 'New group',
    [!before && field('Name', name), field('Roles', roles), field('Description', description)],
    before ? 'Change' : 'Create',
    submit,
    done,
  )
}

/** @param {View} view @param {() => void} done @param {Role} [before] */
export function roleForm(view, done, before) {
  const name = input('', { required: true, maxlength: 128 })
  const rules = h('textarea', { class: 'mono', rows: 8, spellcheck: 'false' }, rulesText(before?.rules ?? []))
  const description = input(before?.description, { maxlength: 512 })
  const submit = async () => {
    const body = { rules: readRules(rules.value), description: description.value }
    await view.api.putRole(before ?? { name: name.value }, body)
  }
  openForm(
    before ? `Change role ${visible(before.name, 60)}` : 'New role',
    [
      !before && field('Name', name),
      field('Rules, one a line; the first that fits decides', rules),
      h(
        'p',
        { class: 'muted' },
        h('code', {}, 'allow publish,subscribe devices/%u/#'),
        ', ',
        h('code', {}, 'deny open pi7/*'),
        ', ',
        h('code', {}, 'allow serve %c/*'),
        ': %u is the user name, %c the client id.',
      ),
      field('Description', description),
    ],
    before ? 'Change' : 'Create',
    submit,
    done,
  )
}
