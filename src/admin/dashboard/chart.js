/**
 * A chart of the last minutes, as SVG: lines over time, a scale, and what is under the pointer.
 *
 * @import { Sample } from './rates.js'
 *
 * @typedef {object} Series
 * @property {string} label
 * @property {(sample: Sample) => number | null} read
 */
import { fill, h, setText, svg } from './dom.js'
import { bytes } from './format.js'

const HEIGHT = 132
const LEFT = 54
const BOTTOM = 18
const TOP = 8
const LONGEST_MINUTES = 10
const WINDOWS_MINUTES = [1, 2, 5, LONGEST_MINUTES]
/** A hole in the line rather than a line over a time of which nothing is known. */
const GAP_MS = 10_000

/**
 * @param {object} options
 * @param {string} options.title
 * @param {readonly Series[]} options.series  two at most: that many have colours
 * @param {(value: number | null) => string} options.format
 * @param {number} [options.smallestTop]  of the scale, so that a little noise does not fill the chart
 */
export function createChart({ title, series, format, smallestTop = 1 }) {
  const told = series.map(({ label, read }) => ({ label, read, value: h('b', {}, '–') }))
  const legend = told.map(({ label, value }, index) =>
    h('span', { class: `series-${index}` }, h('i', { 'aria-hidden': 'true' }), label, ' ', value),
  )
  const picture = svg('svg', { role: 'img', height: HEIGHT, class: 'chart-picture' })
  const element = h(
    'section',
    { class: 'card chart' },
    h('header', {}, h('h2', {}, title), h('p', { class: 'legend' }, legend)),
    picture,
  )

  /** @type {readonly Sample[]} */
  let samples = []
  /** @type {number | undefined} */
  let pointerX

  const draw = () => {
    const width = picture.clientWidth || 400
    picture.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`)
    const last = samples.at(-1)
    if (last === undefined) return
    const spanMs = windowMs(last.atMs - (samples[0]?.atMs ?? last.atMs))
    const startMs = last.atMs - spanMs
    const shown = samples.filter(({ atMs }) => atMs >= startMs)
    const highest = Math.max(smallestTop, ...series.flatMap(({ read }) => shown.map((s) => read(s) ?? 0)))
    const top = niceTop(highest, format === bytes)
    /** @param {number} atMs */
    const x = (atMs) => LEFT + ((atMs - startMs) / spanMs) * (width - LEFT - 4)
    /** @param {number} value */
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)

    const under = pointerX === undefined ? undefined : nearest(shown, x, pointerX)
    fill(
      picture,
      grid(top, spanMs, width, y, format),
      series.flatMap(({ read }, index) => lines(shown, read, x, y, index)),
      under && svg('line', { class: 'pointer', x1: x(under.atMs), x2: x(under.atMs), y1: TOP, y2: y(0) }),
      under &&
        series.map(({ read }, index) => {
          const value = read(under)
          return value === null
            ? null
            : svg('circle', { class: `dot series-${index}`, cx: x(under.atMs), cy: y(value), r: 3 })
        }),
    )
    for (const { read, value } of told) setText(value, format(read(under ?? last)))
    const words = told.map(({ label, read }) => `${label} ${format(read(last))}`).join(', ')
    picture.setAttribute('aria-label', `${title} over ${spanMs / 60_000} minutes. Now: ${words}`)
  }

  picture.addEventListener('pointermove', (event) => {
    pointerX = event.offsetX
    draw()
  })
  picture.addEventListener('pointerleave', () => {
    pointerX = undefined
    draw()
  })
  new ResizeObserver(draw).observe(picture)

  return {
    element,
    /** @param {readonly Sample[]} next */
    update(next) {
      samples = next
      draw()
    },
  }
}

/** @param {number} haveMs */
function windowMs(haveMs) {
  const minutes = WINDOWS_MINUTES.find((candidate) => candidate * 60_000 >= haveMs)
  return (minutes ?? LONGEST_MINUTES) * 60_000
}

/** The next of 1, 2, 4, 5, 10, 20, ...; of bytes, of their unit. @param {number} value @param {boolean} isBytes */
function niceTop(value, isBytes) {
  const unit = isBytes ? 1_024 ** Math.floor(Math.log2(value) / 10) : 1
  const power = 10 ** Math.floor(Math.log10(value / unit)) * unit
  return ([1, 2, 4, 5].find((factor) => factor * power >= value) ?? 10) * power
}

/** @param {readonly Sample[]} samples @param {(atMs: number) => number} x @param {number} at */
function nearest(samples, x, at) {
  /** @type {Sample | undefined} */
  let best
  for (const sample of samples) {
    if (best === undefined || Math.abs(x(sample.atMs) - at) < Math.abs(x(best.atMs) - at)) best = sample
  }
  return best
}

/**
 * @param {number} top @param {number} spanMs @param {number} width
 * @param {(value: number) => number} y @param {(value: number | null) => string} format
 */
function grid(top, spanMs, width, y, format) {
  const minutes = spanMs / 60_000
  const levels = [0, top / 2, top].flatMap((value) => [
    svg('line', { class: 'grid', x1: LEFT, x2: width - 4, y1: y(value), y2: y(value) }),
    svg('text', { class: 'scale', x: LEFT - 6, y: y(value) + 3, 'text-anchor': 'end' }, format(value)),
  ])
  const times = [
    svg('text', { class: 'scale', x: LEFT, y: HEIGHT - 4 }, `${minutes} min ago`),
    svg('text', { class: 'scale', x: width - 4, y: HEIGHT - 4, 'text-anchor': 'end' }, 'now'),
  ]
  return [...levels, ...times]
}

/**
 * @param {readonly Sample[]} samples @param {Series['read']} read
 * @param {(atMs: number) => number} x @param {(value: number) => number} y @param {number} index
 */
function lines(samples, read, x, y, index) {
  /** @type {{ x: number, y: number }[][]} */
  const runs = []
  let lastMs = -Infinity
  for (const sample of samples) {
    const value = read(sample)
    if (value === null) {
      lastMs = -Infinity
      continue
    }
    if (sample.atMs - lastMs > GAP_MS) runs.push([])
    runs.at(-1)?.push({ x: x(sample.atMs), y: y(value) })
    lastMs = sample.atMs
  }
  return runs.flatMap((run) => {
    const path = run.map((point) => `${point.x.toFixed(1)} ${point.y.toFixed(1)}`).join('L')
    const [first, last] = [run[0], run.at(-1)]
    const area = `M${first?.x.toFixed(1)} ${y(0)}L${path}L${last?.x.toFixed(1)} ${y(0)}Z`
    return [
      svg('path', { class: `area series-${index}`, d: area }),
      svg('path', { class: `line series-${index}`, d: `M${path}` }),
    ]
  })
}
