/**
 * Retained messages as a tree by the levels of their topics. Pure.
 *
 * @import { RetainedMessage } from '../api/resources.ts'
 *
 * @typedef {object} Branch
 * @property {Map<string, Branch>} children
 * @property {RetainedMessage | undefined} message  of the topic that ends here
 * @property {number} below  messages here and under it
 *
 * @typedef {object} TreeRow
 * @property {string} path  the topic up to here
 * @property {string} name  its last level; more of them where nothing branches off in between
 * @property {number} level  of indentation
 * @property {boolean} isFolder
 * @property {boolean} isOpen
 * @property {number} below
 * @property {RetainedMessage | undefined} message
 */

/** @param {readonly RetainedMessage[]} messages @returns {Branch} */
export function treeOf(messages) {
  const root = branch()
  for (const message of messages) {
    let at = root
    at.below += 1
    for (const level of message.topic.split('/')) {
      const child = at.children.get(level) ?? branch()
      at.children.set(level, child)
      at = child
      at.below += 1
    }
    at.message = message
  }
  return root
}

/**
 * The rows that are seen while these folders are open.
 *
 * @param {Branch} root
 * @param {ReadonlySet<string>} open
 * @returns {TreeRow[]}
 */
export function rowsOf(root, open) {
  /** @type {TreeRow[]} */
  const rows = []
  /** @param {Branch} parent @param {string} prefix @param {number} level */
  const walk = (parent, prefix, level) => {
    for (const [first, start] of parent.children) {
      let [name, at] = [first, start]
      // A chain of single levels is one row: a/b/c.
      while (!at.message && at.children.size === 1) {
        const [[more, child]] = /** @type {[[string, Branch]]} */ ([...at.children])
        name = `${name}/${more}`
        at = child
      }
      const path = prefix + name
      const common = { path, name, level, below: at.below }
      if (at.message) rows.push({ ...common, isFolder: false, isOpen: false, message: at.message })
      if (at.children.size === 0) continue
      const isOpen = open.has(path)
      rows.push({ ...common, name: `${name}/`, isFolder: true, isOpen, message: undefined })
      if (isOpen) walk(at, `${path}/`, level + 1)
    }
  }
  walk(root, '', 0)
  return rows
}

/** @returns {Branch} */
function branch() {
  return { children: new Map(), message: undefined, below: 0 }
}
