// Nodes of Hyperswarm's DHT on this machine alone, unmodified npm hyperdht. Keys, topics and hashes are hexadecimal;
// addresses are "host:port"; key pairs come from a seed of any text.

const { createHash } = require('crypto')

// Loaded when it is first asked for: most peers do without, and it takes a while.
const load = () => require('hyperdht')

module.exports = class Hyperswarm {
  constructor () {
    this.nodes = new Map()
    this.testnets = []
    this.servers = new Map()
  }

  verbs () {
    return {
      testnet: (command) => this.testnet(command),
      start: (command) => this.start(command),
      stop: ({ dht }) => this.node(dht).destroy(),
      state: ({ dht }) => this.state(dht),
      announce: (command) => this.announce(command),
      unannounce: ({ dht, topic, seed }) => this.node(dht).unannounce(bytes(topic), pair(seed)).then(() => null),
      lookup: (command) => this.lookup(command),
      findPeer: (command) => this.findPeer(command),
      putImmutable: async ({ dht, text }) => {
        const { hash, closestNodes } = await this.node(dht).immutablePut(Buffer.from(text))
        return { hash: hash.toString('hex'), nodes: closestNodes.length }
      },
      getImmutable: async ({ dht, hash }) => text(await this.node(dht).immutableGet(bytes(hash))),
      putMutable: async ({ dht, seed, seq, text }) => {
        const { closestNodes } = await this.node(dht).mutablePut(pair(seed), Buffer.from(text), { seq })
        return { nodes: closestNodes.length }
      },
      getMutable: async ({ dht, key, seq }) => text(await this.node(dht).mutableGet(bytes(key), { seq })),
      key: ({ seed }) => pair(seed).publicKey.toString('hex'),
      listen: (command) => this.listen(command),
      unlisten: ({ seed }) => this.servers.get(seed).close(),
      connect: (command) => this.connect(command)
    }
  }

  node (name) {
    if (!this.nodes.has(name)) throw new Error('no such node: ' + name)
    return this.nodes.get(name)
  }

  // {size} -> where to begin in a network of that many nodes that can be reached.
  async testnet ({ size }) {
    const testnet = await require('hyperdht/testnet')(size)
    this.testnets.push(testnet)
    return testnet.bootstrap.map(({ host, port }) => host + ':' + port)
  }

  // {dht, bootstrap, persistent?} -> its state, once it has found its neighbours. Without `persistent` it is as new ones are
  // behind a firewall: on one machine the quick look for one finds none, if it comes in time.
  async start ({ dht, bootstrap, persistent }) {
    const kind = persistent ? { ephemeral: false, firewalled: false } : { quickFirewall: false }
    const node = new (load())({ bootstrap, host: '127.0.0.1', port: 0, ...kind })
    this.nodes.set(dht, node)
    await node.fullyBootstrapped()
    return this.state(dht)
  }

  state (dht) {
    const node = this.node(dht)
    const { firewalled, ephemeral, stats } = node
    return { firewalled, ephemeral, punches: stats.punches, nodes: node.toArray().length, address: node.address() }
  }

  // {dht, topic, seed, relays?, bump?} -> how many nodes were the nearest, and so were asked to store.
  async announce ({ dht, topic, seed, relays = [], bump = 0 }) {
    const query = this.node(dht).announce(bytes(topic), pair(seed), relays.map(address), { bump })
    await query.finished()
    return { nodes: query.closestNodes.length }
  }

  // {dht, topic} -> [{key, relays, bump}], each key once.
  async lookup ({ dht, topic }) {
    const found = new Map()
    for await (const { peers, bump } of this.node(dht).lookup(bytes(topic))) {
      for (const peer of peers) found.set(peer.publicKey.toString('hex'), { ...told(peer), bump })
    }
    return [...found.values()]
  }

  // {dht, key} -> {key, relays}, or null.
  async findPeer ({ dht, key }) {
    for await (const { peer } of this.node(dht).findPeer(bytes(key))) return told(peer)
    return null
  }

  // {dht, seed}: announces itself, and sends back what it is sent.
  async listen ({ dht, seed }) {
    const server = this.node(dht).createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (data) => socket.end(data))
    })
    this.servers.set(seed, server)
    await server.listen(pair(seed))
    return { key: server.publicKey.toString('hex'), relays: server.relayAddresses.map(({ host, port }) => host + ':' + port) }
  }

  // {dht, key, text, lan?} -> what came back. Without `lan` both ends punch, though they are on one machine: `fastOpen` is
  // a first shot at the peer's address, which on one machine may hit before the two have agreed on anything.
  async connect ({ dht, key, text, lan = true }) {
    const socket = this.node(dht).connect(bytes(key), { localConnection: lan, fastOpen: lan })
    return new Promise((resolve, reject) => {
      socket.on('error', reject)
      socket.on('open', () => socket.write(text))
      socket.on('data', (data) => {
        resolve(data.toString())
        socket.end()
      })
    })
  }

  async close () {
    for (const node of this.nodes.values()) await node.destroy()
    for (const testnet of this.testnets) await testnet.destroy()
  }
}

function bytes (hex) {
  return Buffer.from(hex, 'hex')
}

function text (found) {
  return found && { seq: found.seq, text: found.value.toString() }
}

function told ({ publicKey, relayAddresses }) {
  return { key: publicKey.toString('hex'), relays: relayAddresses.map(({ host, port }) => host + ':' + port) }
}

function address (text) {
  const [host, port] = text.split(':')
  return { host, port: Number(port) }
}

function pair (seed) {
  return load().keyPair(createHash('sha256').update(seed).digest())
}
