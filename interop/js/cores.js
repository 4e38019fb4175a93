// Hypercores by handle: the name that the driver gave when it opened them.

const path = require('path')
const { createHash } = require('crypto')
const Hypercore = require('hypercore')
const crypto = require('hypercore-crypto')
const { blocks } = require('./content')

module.exports = class Cores {
  constructor (folder, store, emit) {
    this.folder = folder
    this.store = store
    this.emit = emit
    this.sessions = new Map()
  }

  verbs () {
    const verbs = { open: (command) => this.open(command) }
    for (const name of ['hear', 'trace']) verbs[name] = (command) => this[name](command)
    for (const [name, verb] of Object.entries(VERBS)) verbs[name] = ({ core, ...rest }) => verb(this.get(core), rest)
    return verbs
  }

  get (handle) {
    const core = this.sessions.get(handle)
    if (!core) throw new Error('no core opened as ' + handle)
    return core
  }

  // {core, name?, key?, plain?, compat?, signer?, manifest?} -> info. What is named by
  //   name      a corestore name: the key pair comes from the store
  //   key       somebody's key
  //   signer    a key pair from keyPair(signer); with compat the public key is the key of the core
  //   manifest  {version, quorum, allowPatch?, signers: [signer...], prologue?, linked?, userData?}
  // plain: a Hypercore with a storage of its own, outside the corestore. encryption: the key of its blocks.
  async open ({ core: handle, plain = false, name, key, compat = false, signer, manifest, encryption }) {
    const opts = { compat }
    if (encryption) opts.encryptionKey = Buffer.from(encryption, 'hex')
    if (key) opts.key = Buffer.from(key, 'hex')
    if (signer) opts.keyPair = keyPair(signer)
    if (signer && compat) opts.key = opts.keyPair.publicKey
    if (manifest) opts.manifest = parseManifest(manifest)
    if (manifest && !key) opts.key = Hypercore.key(opts.manifest)
    if (name) opts.name = name
    const core = plain ? new Hypercore(path.join(this.folder, 'plain', handle), opts.key || null, opts) : this.store().get(opts)
    await core.ready()
    return this.add(handle, core)
  }

  async add (handle, core) {
    this.sessions.set(handle, core)
    const remote = (peer) => peer.remotePublicKey.toString('hex')
    core.on('conflict', (length, fork) => this.emit('conflict', { core: handle, length, fork }))
    core.on('truncate', (length, fork) => this.emit('truncate', { core: handle, length, fork }))
    core.on('peer-add', (peer) => this.emit('peer-add', { core: handle, remote: remote(peer) }))
    core.on('peer-remove', (peer) => this.emit('peer-remove', { core: handle, remote: remote(peer) }))
    return info(core)
  }

  // {name}: an event 'extension' {core, name, text} for every extension message of that name from now on.
  async hear ({ core: handle, name }) {
    const core = this.get(handle)
    core.said = core.said || new Map()
    const onmessage = (text) => this.emit('extension', { core: handle, name, text })
    core.said.set(name, core.registerExtension(name, { encoding: 'utf-8', onmessage }))
  }

  // An event 'request' {core, block, priority} for every request for a block that comes from now on.
  async trace ({ core: handle }) {
    const trace = (peer) => {
      const onrequest = peer.onrequest
      peer.onrequest = function (msg) {
        if (msg.block) emit('request', { core: handle, block: msg.block.index, priority: msg.priority })
        return onrequest.call(this, msg)
      }
    }
    const emit = this.emit
    const core = this.get(handle)
    core.peers.forEach(trace)
    core.on('peer-add', trace)
  }

  async close () {
    for (const core of this.sessions.values()) await core.close()
    this.sessions.clear()
  }
}

const VERBS = {
  info,

  // {blocks: [hex...]} or {seed, start?, count, size}; {signers: [...]} signs for a quorum -> info.
  async append (core, { blocks: given, signers, ...run }) {
    const values = given ? given.map((hex) => Buffer.from(hex, 'hex')) : [...blocks({ start: core.length, ...run })]
    await core.append(values, signers ? { signature: signTogether(core, values, signers) } : {})
    return info(core)
  },

  // {index, wait?, timeout?, raw?} -> {hex}, or null if it is not there and wait is false; raw: as it is stored.
  async get (core, { index, wait = true, timeout = 0, raw = false }) {
    const block = await core.get(index, { wait, timeout, raw })
    return block && { hex: block.toString('hex') }
  },

  // {start, end} -> {held: [[start, end)...]}: what is stored here of that range, as runs.
  async has (core, { start = 0, end = core.length }) {
    const held = []
    for (let i = start; i < end; i++) {
      if (!(await core.has(i))) continue
      const last = held[held.length - 1]
      if (last && last[1] === i) last[1]++
      else held.push([i, i + 1])
    }
    return { held }
  },

  // {start, end} -> {sha256, bytes} of the blocks one behind the other; fetches what is missing.
  async digest (core, { start = 0, end = core.length }) {
    const hash = createHash('sha256')
    let bytes = 0
    for (let i = start; i < end; i++) {
      const block = await core.get(i)
      hash.update(block)
      bytes += block.byteLength
    }
    return { sha256: hash.digest('hex'), bytes }
  },

  // {seed, start, count, size} -> {bytes}; an error that names the first block that differs from what the seed says.
  async check (core, run) {
    let index = run.start || 0
    let bytes = 0
    for (const expected of blocks(run)) {
      const block = await core.get(index)
      if (!block.equals(expected)) throw new Error(`block ${index} differs: ${block.length} bytes, expected ${expected.length}`)
      index++
      bytes += block.length
    }
    return { bytes }
  },

  // {start, end} or {blocks: [...]}, {linear?} -> info, when all of it is here.
  async download (core, range) {
    await core.download(range).done()
    return info(core)
  },

  // Downloads everything from now on, as it comes.
  async follow (core, { start = 0 }) {
    core.download({ start, end: -1 })
    return info(core)
  },

  async update (core) {
    return { updated: await core.update({ wait: true }) }
  },

  // {byte} -> [block, offset in it]
  async seek (core, { byte }) {
    return core.seek(byte)
  },

  // {length, fork?, signers?} -> info
  async truncate (core, { length, fork = core.fork + 1 }) {
    await core.truncate(length, { fork })
    return info(core)
  },

  // {name, text}: to every peer; the name must be one that is heard here.
  async say (core, { name, text }) {
    core.said.get(name).broadcast(text)
  },

  // {allow}: whether blocks are taken that were not asked for.
  async allowPush (core, { allow }) {
    core.core.replicator.setAllowPush(allow)
  },

  // {index}: sends a block to the peers that take it unasked.
  async push (core, { index }) {
    await core.core.replicator.push(index)
  },

  async clear (core, { start, end }) {
    await core.clear(start, end)
    return info(core)
  },

  // {length?, fork?, contiguous?, peers?} -> info, once all of them are reached (length and peers: at least).
  async wait (core, { length = 0, fork, contiguous = 0, peers = 0 }) {
    const reached = () =>
      core.length >= length && core.contiguousLength >= contiguous && core.peers.length >= peers &&
      (fork === undefined || core.fork === fork)
    while (!reached()) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    return info(core)
  },

  // {message, fields} -> {peers}: one message to every peer as it is, however hostile. The message's name as hypercore
  // has it (range, want, request, cancel, sync, data ...), its fields those of its encoding.
  async send (core, { message, fields }) {
    const wire = 'wire' + message[0].toUpperCase() + message.slice(1)
    for (const peer of core.peers) peer[wire].send(fields)
    return { peers: core.peers.length }
  },

  async close (core) {
    await core.close()
  }
}

async function info (core) {
  return {
    key: core.key.toString('hex'),
    discoveryKey: core.discoveryKey.toString('hex'),
    length: core.length,
    byteLength: core.byteLength,
    fork: core.fork,
    contiguous: core.contiguousLength,
    peers: core.peers.length,
    writable: core.writable,
    manifest: core.manifest ? core.manifest.version : null,
    // Not core.treeHash(): that one fetches the last block.
    treeHash: (await Hypercore.treeHashFromStorage(core)).toString('hex')
  }
}

// The Ed25519 key pair whose seed is SHA-256 of the name.
function keyPair (name) {
  return crypto.keyPair(createHash('sha256').update(name).digest())
}

function parseManifest ({ signers, prologue, linked, userData, ...rest }) {
  const hex = (text) => Buffer.from(text, 'hex')
  return {
    ...rest,
    signers: signers.map((name) => ({ publicKey: keyPair(name).publicKey })),
    prologue: prologue ? { hash: hex(prologue.hash), length: prologue.length } : null,
    linked: linked ? linked.map(hex) : null,
    userData: userData ? hex(userData) : null
  }
}

function signTogether (core, values, signers) {
  const { state, verifier } = core.core
  const tree = state.createTreeBatch()
  for (const value of values) tree.append(value)
  const inputs = signers.map((name) => {
    const pair = keyPair(name)
    const signer = verifier.signers.findIndex((s) => s.publicKey.equals(pair.publicKey))
    return { signer, signature: verifier.signers[signer].sign(tree, pair), patch: 0, nodes: null }
  })
  return verifier.assemble(inputs)
}

const POLL_MS = 10
