// One end of the measured replication in JavaScript: `node side.js serve FOLDER COUNT BYTES` or
// `node side.js fetch FOLDER KEY PORT`. Prints one line: key and port, or seconds and blocks.
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
  connect(core, net.connect(port, '127.0.0.1'), true)
  await core.update({ wait: true })
  await core.download({ start: 0, end: core.length }).done()
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9
  console.log(seconds, core.contiguousLength)
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
