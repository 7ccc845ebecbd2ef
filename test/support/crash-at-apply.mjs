/**
 * Preloaded into a broker (`node --import`): the process dies by SIGKILL just before or just after the batch of
 * that number is written by apply.lua.
 */
import { createHash } from 'node:crypto'
import { Redis } from 'ioredis'

const crashAt = Number(process.env.CRASH_AT_BATCH ?? 0)
const moment = process.env.CRASH_MOMENT
const applyScripts = new Set()
let written = 0

const die = () => process.kill(process.pid, 'SIGKILL')
const isApply = (text) => text.includes('executes a batch of ops')
const shaOf = (text) => createHash('sha1').update(text).digest('hex')

const sendCommand = Object.getOwnPropertyDescriptor(Redis.prototype, 'sendCommand').value
Redis.prototype.sendCommand = function (command, ...more) {
  const [first, second] = command.args.map(String)
  if (command.name === 'script' && isApply(second ?? '')) applyScripts.add(shaOf(second))
  if (command.name === 'eval' && isApply(first)) applyScripts.add(shaOf(first))
  const isBatch =
    (command.name === 'evalsha' && applyScripts.has(first)) || (command.name === 'eval' && isApply(first))
  const isLast = isBatch && ++written === crashAt
  if (isLast && moment === 'before') die()
  const answer = sendCommand.call(this, command, ...more)
  if (isLast) command.promise.then(die, () => {})
  return answer
}
