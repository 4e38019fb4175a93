// Peers on the same network by multicast DNS, and the tracker of old Dat programs: unmodified npm dns-discovery. Infohashes
// are hexadecimal; addresses are "host:port".

// Loaded when it is first asked for: most peers do without.
const load = () => require('dns-discovery')

module.exports = class Dns {
  constructor () {
    this.nodes = new Map()
    this.found = new Map()
  }

  verbs () {
    return {
      start: (command) => this.start(command),
      announce: ({ dns, infohash, port }) => called((done) => this.node(dns).announce(infohash, port, done)),
      unannounce: ({ dns, infohash, port }) => called((done) => this.node(dns).unannounce(infohash, port, done)),
      lookup: (command) => this.lookup(command),
      seen: ({ dns, infohash }) => [...this.found.get(dns)].filter((at) => at.startsWith(infohash)).map((at) => at.slice(41)).sort()
    }
  }

  node (name) {
    if (!this.nodes.has(name)) throw new Error('no such node: ' + name)
    return this.nodes.get(name)
  }

  // {dns, multicast?, server?, serve?}: as Dat programs have it, or without multicast. `server` is a tracker's "host:port";
  // with `serve` it is one itself, and its port is returned.
  async start ({ dns, multicast, server, serve }) {
    const node = load()({ domain: 'dat.local', multicast, loopback: false, ...(server ? { server } : {}) })
    this.nodes.set(dns, node)
    const found = new Set()
    this.found.set(dns, found)
    node.on('peer', (infohash, { host, port }) => found.add(infohash + ' ' + host + ':' + port))
    if (!serve) return null
    await new Promise((resolve) => node.listen([0], resolve))
    return node._sockets.at(-1).socket.address().port
  }

  // {dns, infohash, wait?} -> ["host:port"]: asks again and again until somebody is found, or for so many milliseconds.
  async lookup ({ dns, infohash, wait = 60000 }) {
    const end = Date.now() + wait
    const seen = () => this.verbs().seen({ dns, infohash })
    while (!seen().length && Date.now() < end) {
      this.node(dns).lookup(infohash)
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
    return seen()
  }

  async close () {
    for (const node of this.nodes.values()) await new Promise((resolve) => node.destroy(resolve))
  }
}

function called (begin) {
  return new Promise((resolve, reject) => begin((err) => err ? reject(err) : resolve(null)))
}
