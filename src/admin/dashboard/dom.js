/**
 * Builds elements. Text goes in as text nodes only: what a client chose can never become markup.
 *
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {string | number | boolean | null | undefined} Attribute  null, undefined and false leave it out
 * @typedef {Record<string, Attribute | ((event: Event) => unknown)>} Props  attributes, and listeners as `onclick`
 */

const SVG = 'http://www.w3.org/2000/svg'

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props} [props]
 * @param {...(Child | readonly Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag)
  apply(element, props)
  append(element, children)
  return element
}

/**
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props} [props]
 * @param {...(Child | readonly Child[])} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag)
  apply(element, props)
  append(element, children)
  return element
}

/**
 * Replaces what is in an element.
 *
 * @param {Element} element
 * @param {...(Child | readonly Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren()
  append(element, children)
}

/**
 * Writes a text only where it differs, so that a selection in a page that is refreshed stays.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** @param {Element} element @param {Props} props */
function apply(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue
    if (typeof value === 'function') {
      element.addEventListener(name.slice(2), value)
      continue
    }
    const text = value === true ? '' : String(value)
    // A link of this page leads to a part of this page, whatever a client calls itself.
    if (name === 'href' && !text.startsWith('#')) throw new Error(`a link to ${text}`)
    element.setAttribute(name, text)
  }
}

/** @param {Element} element @param {readonly (Child | readonly Child[])[]} children */
function append(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue
    element.append(child instanceof Node ? child : String(child))
  }
}
