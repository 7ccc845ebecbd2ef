import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const folder = fileURLToPath(new URL('../../../src/admin/dashboard', import.meta.url))
const texts = new Map(
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.\w+$/.test(file))
    .map((file) => [file.replaceAll('\\', '/'), readFileSync(join(folder, file), 'utf8')]),
)

/** Files in which this stands, with what stands there. */
function findings(pattern: RegExp, files = /./): string[] {
  return [...texts]
    .filter(([file]) => files.test(file))
    .flatMap(([file, text]) => [...text.matchAll(pattern)].map(([found]) => `${file}: ${found}`))
}

describe('the files of the dashboard', () => {
  it('are small, all together', () => {
    expect(texts.size).toBeGreaterThan(20)
    expect([...texts.values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0)).toBeLessThan(
      // 150 until there were identities, with forms for three things. Gzip of a proxy makes a third of it.
      175 * 1_024,
    )
  })

  it('make no markup out of text', () => {
    const ways =
      /innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|createContextualFragment|DOMParser|srcdoc|\beval\b|new Function/g
    expect(findings(ways)).toEqual([])
  })

  it('have nothing inline, which the CSP would refuse', () => {
    expect(findings(/<script(?![^>]*\ssrc=)[^>]*>|<style|\sstyle=|\son\w+=/g, /\.(?:html|svg)$/)).toEqual([])
    expect(findings(/setAttribute\('style'|\bstyle: /g, /\.js$/)).toEqual([])
  })

  it('come from here, and lead nowhere else', () => {
    const allowed = ['http://www.w3.org/2000/svg', 'http://127.0.0.1']
    const urls = findings(/\b(?:https?|wss?):\/\/[\w.$/-]+/g, /\.(?:html|js|css|svg)$/)
    expect(urls.filter((url) => !allowed.some((prefix) => url.includes(prefix)))).toEqual([])
    expect(findings(/\b(?:href|src)="\/|@import|url\(/g, /\.(?:html|css)$/)).toEqual([])
  })

  it('are modules that import only each other, by paths that are there', () => {
    const wrong = [...texts].flatMap(([file, text]) =>
      [...text.matchAll(/^import (?:[^'"]* from )?'([^']+)'/gm)]
        .map(([, specifier = '']) => join(file, '..', specifier).replaceAll('\\', '/'))
        .filter((target) => !texts.has(target))
        .map((target) => `${file} -> ${target}`),
    )
    expect(wrong).toEqual([])
  })
})
