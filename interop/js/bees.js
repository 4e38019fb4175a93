// Hyperbees by handle, over the cores of the same handle: utf-8 keys, JSON values.

const Hyperbee = require('hyperbee')

module.exports = class Bees {
  constructor (cores) {
    this.cores = cores
    this.bees = new Map()
  }

  verbs () {
    const verbs = { open: (command) => this.open(command) }
    for (const [name, verb] of Object.entries(VERBS)) verbs[name] = ({ bee, ...rest }) => verb(this.get(bee), rest)
    return verbs
  }

  get (handle) {
    const bee = this.bees.get(handle)
    if (!bee) throw new Error('no bee opened as ' + handle)
    return bee
  }

  // {bee, and what core.open takes} -> info of its core
  async open ({ bee: handle, ...spec }) {
    const info = await this.cores.open({ core: handle, ...spec })
    const bee = new Hyperbee(this.cores.get(handle), { keyEncoding: 'utf-8', valueEncoding: 'json' })
    await bee.ready()
    this.bees.set(handle, bee)
    return info
  }
}

const VERBS = {
  async put (bee, { key, value }) {
    await bee.put(key, value)
    return { version: bee.version }
  },

  async del (bee, { key }) {
    await bee.del(key)
    return { version: bee.version }
  },

  // {ops: [[key, value] | [key]...]}: a pair puts, a key alone deletes; all in one append.
  async batch (bee, { ops }) {
    const batch = bee.batch()
    for (const op of ops) {
      if (op.length === 2) await batch.put(...op)
      else await batch.del(op[0])
    }
    await batch.flush()
    return { version: bee.version }
  },

  // {key, version?} -> {value, seq} or null
  async get (bee, { key, version }) {
    const node = await at(bee, version).get(key)
    return node && { value: node.value, seq: node.seq }
  },

  // {gte?, lt?, ..., limit?, reverse?, version?} -> [[key, value]...]
  async list (bee, { version, ...range }) {
    const entries = []
    for await (const { key, value } of at(bee, version).createReadStream(range)) entries.push([key, value])
    return entries
  },

  // {version} -> [[left, right]...]: what differs between now and then
  async diff (bee, { version }) {
    const entries = []
    for await (const { left, right } of bee.createDiffStream(version)) entries.push([left && left.key, right && right.key])
    return entries
  }
}

function at (bee, version) {
  return version === undefined ? bee : bee.checkout(version)
}
