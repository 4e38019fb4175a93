// One end of a core's replication in JavaScript: `node core.js serve FOLDER COUNT BYTES` prints key and port,
// `node core.js fetch FOLDER KEY PORT` seconds, blocks, seconds of processor time and peak MiB.
const fs = require('fs')
const net = require('net')
const Hypercore = require('hypercore')

const [role, folder, a, b] = process.argv.slice(2)

async function serve (count, bytes) {
  const core = new Hypercore(folder)
  await core.ready()
  const block = i => Buffer.alloc(bytes, (i * 31 + 7) & 255)
  while (core.length < count) {
    const batch = []
    while (batch.length < 256 && core.length + batch.length < count) batch.push(block(core.length + batch.length))
    await core.append(batch)
  }
  const server = net.createServer(socket => connect(core, socket, false))
  server.listen(0, '127.0.0.1', () => console.log(core.key.toString('hex'), server.address().port))
}

async function fetch (key, port) {
  const core = new Hypercore(folder, Buffer.from(key, 'hex'))
  await core.ready()
  const begun = process.hrtime.bigint()
  const before = process.cpuUsage()
  connect(core, net.connect(port, '127.0.0.1'), true)
  await core.update({ wait: true })
  await core.download({ start: 0, end: core.length }).done()
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9
  const cpu = process.cpuUsage(before)
  const [, peak] = /VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))
  console.log(seconds, core.contiguousLength, (cpu.user + cpu.system) / 1e6, peak / 1024)
  process.exit(0)
}

function connect (core, socket, initiator) {
  socket.setNoDelay(true)
  const stream = core.replicate(initiator, { keepAlive: true })
  socket.on('error', () => {})
  stream.on('error', () => {})
  socket.pipe(stream).pipe(socket)
}

if (role === 'serve') serve(Number(a), Number(b))
else fetch(a, Number(b))
