/** Light, dark, or as the system has it. The choice is kept in this browser; it is no secret. */

const STORED = 'tunnelmq-theme'
const themes = /** @type {const} */ (['auto', 'light', 'dark'])
/** @typedef {(typeof themes)[number]} Theme */

/** @returns {Theme} */
export function currentTheme() {
  const stored = localStorage.getItem(STORED)
  return themes.find((theme) => theme === stored) ?? 'auto'
}

/** @param {Theme} theme */
export function setTheme(theme) {
  localStorage.setItem(STORED, theme)
  applyTheme()
}

export function applyTheme() {
  const theme = currentTheme()
  if (theme === 'auto') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = theme
}

/** @returns {Theme} */
export function nextTheme() {
  return themes[(themes.indexOf(currentTheme()) + 1) % themes.length] ?? 'auto'
}
