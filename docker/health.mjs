// The HEALTHCHECK of the image: does /live answer? Where the admin server is says the key file that the broker writes for
// commands, so that a port, an address or TLS of the configuration are no matter. Small, as it starts every 10 seconds.
import { readFileSync } from 'node:fs'

const places = [`http://127.0.0.1:${process.env.TUNNELMQ_ADMIN_PORT ?? 8080}`]
try {
  const file = process.env.TUNNELMQ_ADMIN_LOCAL_KEY_FILE ?? 'data/admin.key'
  const [, url] = /^# (\S+) of process /m.exec(readFileSync(file, 'utf8')) ?? []
  if (url !== undefined) places.unshift(url)
} catch {
  // admin.localKey is off, or its file is elsewhere.
}

/** Nothing is sent that somebody else might not see, so the certificate does not matter. */
async function isLive(place) {
  const { get } = await import(place.startsWith('https:') ? 'node:https' : 'node:http')
  return new Promise((resolve) => {
    get(`${place}/live`, { rejectUnauthorized: false }, ({ statusCode }) => resolve(statusCode === 200)).on(
      'error',
      () => resolve(false),
    )
  })
}

for (const place of places) if (await isLive(place)) process.exit(0)
process.exit(1)
