// Clones what `anypath share` serves: node clone.js LINK FOLDER

const { mkdir, writeFile } = require('fs/promises')
const net = require('net')
const path = require('path')
const Corestore = require('corestore')
const Hyperdrive = require('hyperdrive')
const { decode } = require('hypercore-id-encoding')

async function main (link, folder) {
  const { hostname: key, searchParams, hash } = new URL(link)
  const { hostname, port } = new URL(searchParams.get('via'))
  const secret = new URLSearchParams(hash.slice(1)).get('encryption') // of a drive shared with --encrypt
  const store = new Corestore(folder + '.store')
  const drive = new Hyperdrive(store, decode(key), { encryptionKey: secret && decode(secret) })
  const socket = net.connect(port, hostname)
  socket.pipe(store.replicate(true)).pipe(socket)
  await drive.update({ wait: true })
  for await (const { key: name } of drive.list('/')) {
    const file = path.join(folder, name) // names are a stranger's: `anypath clone` checks them, this example does not
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, (await drive.get(name, { follow: true })) || '')
    console.log(name)
  }
  await store.close()
  socket.destroy()
}

main(...process.argv.slice(2))
