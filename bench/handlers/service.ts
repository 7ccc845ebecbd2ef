import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The service of the bench, a process of its own: says yes to everything; under `/cached` for an hour. */
const server = createServer((request, response) => {
  const header = request.url === '/cached' ? { 'cache-control': 'max-age=3600' } : {}
  request.resume().on('end', () => response.writeHead(200, header).end('{"result":"allow"}'))
})
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
