// Clones what `anypath share --via https://RELAY` serves, through the relay: node relayed.js LINK FOLDER
// A relay with a certificate of a private authority: NODE_EXTRA_CA_CERTS=FILE.

const { mkdir, writeFile } = require('fs/promises')
const path = require('path')
const Corestore = require('corestore')
const Hyperdrive = require('hyperdrive')
const { discoveryKey } = require('hypercore-crypto')
const { decode } = require('hypercore-id-encoding')
const Relay = require('../relay')

async function main (link, folder) {
  const { hostname: key, searchParams } = new URL(link)
  const address = searchParams.getAll('via').find((via) => via.startsWith('https:'))
  const relay = await Relay.open(address)
  const peers = await relay.lookUp(discoveryKey(decode(key)))
  if (peers.length === 0) throw new Error('nobody who has it is at ' + address + ' now')
  const store = new Corestore(folder + '.store')
  const drive = new Hyperdrive(store, decode(key))
  const circuit = relay.connect(peers[0])
  circuit.pipe(store.replicate(true)).on('error', console.error).pipe(circuit)
  await drive.update({ wait: true })
  for await (const { key: name } of drive.list('/')) {
    const file = path.join(folder, name) // names are a stranger's: `anypath clone` checks them, this example does not
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, (await drive.get(name, { follow: true })) || '')
    console.log(name)
  }
  await store.close()
  await relay.close()
}

main(...process.argv.slice(2))
