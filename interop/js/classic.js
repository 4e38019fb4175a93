// Nodes of BitTorrent's DHT on this machine alone, unmodified npm bittorrent-dht. Infohashes, targets and keys are
// hexadecimal; addresses are "host:port"; key pairs come from a seed of any text.

const { createHash } = require('crypto')

// Loaded when it is first asked for: most peers do without.
const load = () => require('bittorrent-dht')
const crypto = () => require('hypercore-crypto')

module.exports = class Classic {
  constructor () {
    this.nodes = new Map()
  }

  verbs () {
    return {
      start: (command) => this.start(command),
      neighbours: ({ dht }) => this.node(dht).toJSON().nodes.length,
      announce: ({ dht, infohash, port }) => called((done) => this.node(dht).announce(infohash, port, done)),
      lookup: (command) => this.lookup(command),
      putImmutable: async ({ dht, text }) => hex(await called((done) => this.node(dht).put({ v: Buffer.from(text) }, done))),
      putMutable: async ({ dht, seed, seq, text, salt }) => {
        const { publicKey, secretKey } = pair(seed)
        const sign = (message) => crypto().sign(message, secretKey)
        const item = { k: publicKey, seq, v: Buffer.from(text), sign, ...(salt ? { salt: Buffer.from(salt) } : {}) }
        return hex(await called((done) => this.node(dht).put(item, done)))
      },
      get: async ({ dht, target }) => {
        const found = await called((done) => this.node(dht).get(target, { cache: false }, done))
        return found && { seq: found.seq ?? null, text: found.v.toString() }
      },
      key: ({ seed }) => hex(pair(seed).publicKey)
    }
  }

  node (name) {
    if (!this.nodes.has(name)) throw new Error('no such node: ' + name)
    return this.nodes.get(name)
  }

  // {dht, bootstrap} -> its address, once it has looked for its neighbours.
  async start ({ dht, bootstrap }) {
    const verify = (signature, message, key) => crypto().verify(message, signature, key)
    const DHT = load().default || load().Client || load()
    const node = new DHT({ bootstrap: bootstrap.length ? bootstrap : false, verify })
    this.nodes.set(dht, node)
    const ready = new Promise((resolve) => node.once('ready', resolve))
    await new Promise((resolve) => node.listen(0, '127.0.0.1', resolve))
    await ready
    return '127.0.0.1:' + node.address().port
  }

  // {dht, infohash} -> ["host:port"], each once, sorted.
  async lookup ({ dht, infohash }) {
    const [node, found] = [this.node(dht), new Set()]
    const note = (peer, of) => { if (hex(of) === infohash) found.add(peer.host + ':' + peer.port) }
    node.on('peer', note)
    await called((done) => node.lookup(infohash, done))
    node.removeListener('peer', note)
    return [...found].sort()
  }

  async close () {
    for (const node of this.nodes.values()) await new Promise((resolve) => node.destroy(resolve))
  }
}

function called (begin) {
  return new Promise((resolve, reject) => begin((err, value) => err ? reject(err) : resolve(value ?? null)))
}

function hex (bytes) {
  return Buffer.from(bytes).toString('hex')
}

function pair (seed) {
  return crypto().keyPair(createHash('sha256').update(seed).digest())
}
