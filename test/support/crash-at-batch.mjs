/**
 * Preloaded into a broker (`node --import`): the process dies by SIGKILL just before or just after the batch of
 * that number is written to LevelDB, and synced.
 */
import { ClassicLevel } from 'classic-level'

const crashAt = Number(process.env.CRASH_AT_BATCH ?? 0)
const moment = process.env.CRASH_MOMENT
let written = 0

const { batch } = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(ClassicLevel.prototype))
ClassicLevel.prototype.batch = function (...operations) {
  const made = batch.value.apply(this, operations)
  if (operations.length > 0) return made
  const write = made.write.bind(made)
  made.write = async (options) => {
    const isLast = ++written === crashAt
    if (isLast && moment === 'before') process.kill(process.pid, 'SIGKILL')
    await write(options)
    if (isLast) process.kill(process.pid, 'SIGKILL')
  }
  return made
}
