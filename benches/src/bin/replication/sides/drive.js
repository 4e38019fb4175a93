// One end of a drive's replication in JavaScript, as fast as its packages are by their own means:
// `node drive.js share STORE FOLDER` puts a folder's files and serves them, `node drive.js clone STORE FOLDER KEY PORT`
// fetches and writes them, `node drive.js cores STORE KEYS COUNT [PORT]` holds many cores open. They tell events as
// `anypath --json` does.
const fs = require('fs')
const path = require('path')
const net = require('net')
const { pipeline } = require('stream/promises')
const Corestore = require('corestore')
const Hyperdrive = require('hyperdrive')

const WHOLE_BYTES_MAX = 4 * 1024 * 1024 // files up to here are read and written at once
const TOGETHER = 32 // files written at a time: more is not faster

async function share (storage, folder) {
  const begun = process.hrtime.bigint()
  const store = new Corestore(storage)
  const drive = new Hyperdrive(store)
  await drive.ready()
  const batch = drive.batch() // one write of the tree, where put by put writes it for each file
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = path.join(entry.parentPath, entry.name)
    const name = '/' + path.relative(folder, file)
    if (fs.statSync(file).size <= WHOLE_BYTES_MAX) await batch.put(name, fs.readFileSync(file))
    else await pipeline(fs.createReadStream(file, { highWaterMark: 65536 }), batch.createWriteStream(name))
  }
  await batch.flush()
  const seconds = since(begun)
  const server = net.createServer((socket) => connect(store, socket, false))
  server.listen(0, '127.0.0.1', () => {
    const link = 'hyper://' + drive.key.toString('hex') + '?via=tcp://127.0.0.1:' + server.address().port
    tell({ event: 'shared', link, seconds })
  })
}

async function clone (storage, folder, key, port) {
  const store = new Corestore(storage)
  const drive = new Hyperdrive(store, Buffer.from(key, 'hex'))
  await drive.ready()
  const begun = process.hrtime.bigint()
  connect(store, net.connect(Number(port), '127.0.0.1'), true)
  await drive.update({ wait: true })
  const whole = [{ start: 0, end: -1 }]
  await drive.downloadRange(whole, whole) // all blocks are asked for ahead, not one file after the other
  const writing = new Set()
  for await (const entry of drive.list('/')) {
    const one = write(drive, folder, entry).then(() => writing.delete(one))
    writing.add(one)
    if (writing.size >= TOGETHER) await Promise.race(writing)
  }
  await Promise.all(writing)
  tell({ event: 'done', seconds: since(begun) })
  cost()
  process.exit(0)
}

const made = new Set()

async function write (drive, folder, entry) {
  const file = path.join(folder, entry.key)
  const parent = path.dirname(file)
  if (!made.has(parent)) fs.mkdirSync(parent, { recursive: true })
  made.add(parent)
  if (entry.value.blob.byteLength <= WHOLE_BYTES_MAX) await fs.promises.writeFile(file, await drive.get(entry))
  else await pipeline(drive.createReadStream(entry), fs.createWriteStream(file))
}

// Holds so many cores open, of one block each; without a port their owner, with one a peer that fetches them all.
async function cores (storage, list, count, port) {
  const store = new Corestore(storage)
  const keys = port ? JSON.parse(fs.readFileSync(list, 'utf8')) : []
  const all = []
  for (let i = 0; i < Number(count); i++) {
    const core = store.get(port ? Buffer.from(keys[i], 'hex') : { name: 'core ' + i })
    await core.ready()
    if (!port && core.length === 0) await core.append('b'.repeat(100))
    all.push(core)
  }
  if (port) {
    connect(store, net.connect(Number(port), '127.0.0.1'), true)
    await Promise.all(all.map((core) => core.get(0)))
    return tell({ event: 'open' })
  }
  fs.writeFileSync(list, JSON.stringify(all.map((core) => core.key.toString('hex'))))
  const server = net.createServer((socket) => connect(store, socket, false))
  server.listen(0, '127.0.0.1', () => tell({ event: 'open', port: server.address().port }))
}

function connect (store, socket, initiator) {
  socket.setNoDelay(true)
  const stream = store.replicate(initiator, { keepAlive: true })
  socket.on('error', () => {})
  stream.on('error', () => {})
  socket.pipe(stream).pipe(socket)
}

function cost () {
  const { user, system } = process.cpuUsage()
  const [, peak] = /VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))
  const [, resident] = /VmRSS:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))
  tell({ event: 'cost', cpu_seconds: (user + system) / 1e6, peak_mib: peak / 1024, resident_mib: resident / 1024 })
}

function since (begun) {
  return Number(process.hrtime.bigint() - begun) / 1e9
}

function tell (event) {
  console.log(JSON.stringify(event))
}

const [role, ...rest] = process.argv.slice(2)
const roles = { share, clone, cores }
roles[role](...rest)
