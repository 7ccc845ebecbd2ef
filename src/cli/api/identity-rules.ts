import type { RoleRule } from '../../admin/api/identity-resources.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'

/** `publish,subscribe:sensors/%u/#`, `open:pi7/ssh`: actions, and what they are about. Throws TMQ_USAGE. */
export function parseRule(option: '--allow' | '--deny', text: string): RoleRule {
  const colon = text.indexOf(':')
  const actions = text.slice(0, Math.max(0, colon)).split(',')
  const on = text.slice(colon + 1)
  if (colon < 0 || on === '' || actions.some((action) => !isAction(action)))
    throw new TunnelMQError(
      ErrorCode.usage,
      `${option} ${text}: is not ACTIONS:TOPIC or ACTIONS:AGENT/SERVICE, such as publish,subscribe:sensors/%u/# ` +
        'or open:pi7/ssh; actions are publish, subscribe, serve, open',
    )
  return { allow: option === '--allow', actions: actions.filter(isAction), on }
}

/** As it is given to a command: `--allow open:pi7/ssh`. */
export function ruleText({ allow, actions, on }: RoleRule): string {
  return `--${allow ? 'allow' : 'deny'} ${actions.join(',')}:${on}`
}

const known: readonly RoleRule['actions'][number][] = ['publish', 'subscribe', 'serve', 'open']

function isAction(text: string): text is RoleRule['actions'][number] {
  return (known as readonly string[]).includes(text)
}
