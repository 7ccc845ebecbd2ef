import { eventLoopMetric, latencyMetrics, numberMetrics } from './metric-list.ts'

/** docs/metrics.md: every metric with its type and labels. */
export function metricReference(): string {
  const rows = [...numberMetrics, ...latencyMetrics, eventLoopMetric].map(({ name, type, labels, help }) => {
    const shown = labels.map((label) => `\`${label}\``).join(', ')
    return `| \`${name}\` | ${type} | ${shown} | ${help} |`
  })
  return `# Metrics

<!-- Generated from src/admin/*metric-list.ts by \`npm run docs\`. -->

\`GET /metrics\` on the admin port (default 127.0.0.1:8080), in the text format of Prometheus. Labels have few values:
listeners and handlers of the configuration, and closed lists. Histograms have \`_bucket\`, \`_sum\` and \`_count\`.

| metric | type | labels | |
|---|---|---|---|
${rows.join('\n')}
`
}
