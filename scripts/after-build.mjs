// Run by `npm run build`, after tsc: what tsc does not do.
import { chmodSync, cpSync } from 'node:fs'

// npm sets this on installing a package, but `npx tunnelmq` in a checkout runs the file as it is.
chmodSync(new URL('../dist/cli/index.js', import.meta.url), 0o755)

cpSync(
  new URL('../src/store/redis/lua', import.meta.url),
  new URL('../dist/store/redis/lua', import.meta.url),
  {
    recursive: true,
  },
)

// The files of the dashboard are served as they are.
const dashboard = new URL('../src/admin/dashboard', import.meta.url)
cpSync(dashboard, new URL('../dist/admin/dashboard', import.meta.url), { recursive: true })
