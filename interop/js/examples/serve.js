// Serves a folder's files to `anypath clone`: node serve.js FOLDER [PORT]

const { readdir, readFile } = require('fs/promises')
const net = require('net')
const path = require('path')
const Corestore = require('corestore')
const Hyperdrive = require('hyperdrive')
const { encode } = require('hypercore-id-encoding')

async function main (folder, port = '0') {
  const store = new Corestore(folder + '.store')
  const drive = new Hyperdrive(store)
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name)
    if (entry.isFile()) await drive.put('/' + path.relative(folder, file), await readFile(file))
  }
  const server = net.createServer((socket) => socket.pipe(store.replicate(false)).pipe(socket).on('error', console.error))
  server.listen(Number(port), '127.0.0.1', () => {
    const via = encodeURIComponent('tcp://127.0.0.1:' + server.address().port)
    console.log('hyper://' + encode(drive.key) + '?via=' + via)
  })
}

main(...process.argv.slice(2))
