// Hyperdrives by handle.

const { createHash } = require('crypto')
const Hyperdrive = require('hyperdrive')
const SubEncoder = require('sub-encoder')
const { content } = require('./content')
const folders = require('./folders')

module.exports = class Drives {
  constructor (cores, store) {
    this.cores = cores
    this.store = store
    this.drives = new Map()
  }

  verbs () {
    const verbs = { open: (command) => this.open(command) }
    for (const [name, verb] of Object.entries(VERBS)) verbs[name] = ({ drive, ...rest }) => verb(this.get(drive), rest)
    return verbs
  }

  get (handle) {
    const drive = this.drives.get(handle)
    if (!drive) throw new Error('no drive opened as ' + handle)
    return drive
  }

  // {drive, key?, encryption?} -> info. Without a key: our own, in the namespace of that handle.
  // Its cores can be asked by core.* as HANDLE/db and HANDLE/blobs (the second once it is known: drive.info).
  async open ({ drive: handle, key, encryption }) {
    const store = this.store().namespace(handle)
    const encryptionKey = encryption ? Buffer.from(encryption, 'hex') : null
    const drive = new Hyperdrive(store, key ? Buffer.from(key, 'hex') : null, { encryptionKey })
    await drive.ready()
    this.drives.set(handle, drive)
    await this.cores.add(handle + '/db', drive.core)
    if (drive.blobs) await this.cores.add(handle + '/blobs', drive.blobs.core)
    else drive.once('blobs', (blobs) => this.cores.add(handle + '/blobs', blobs.core))
    return info(drive)
  }

  async close () {
    for (const drive of this.drives.values()) await drive.close()
    this.drives.clear()
  }
}

const VERBS = {
  info,

  // {folder} -> {files, bytes}: puts what is in the folder, with the executable bit and symlinks.
  async import (drive, { folder }) {
    return folders.read(drive, folder)
  },

  // {folder, version?} -> {files, bytes}: writes every entry below the folder, which must be its own.
  async export (drive, { folder, version }) {
    return folders.write(at(drive, version), folder)
  },

  // {path, text | hex | (seed, index, size), executable?, metadata?} -> info
  async put (drive, { path, text, hex, seed, index, size, executable = false, metadata = null }) {
    const bytes = text !== undefined ? Buffer.from(text) : hex !== undefined ? Buffer.from(hex, 'hex') : content(seed, index, size)
    await drive.put(path, bytes, { executable, metadata })
    return info(drive)
  },

  async symlink (drive, { path, target }) {
    await drive.symlink(path, target)
    return info(drive)
  },

  async del (drive, { path }) {
    await drive.del(path)
    return info(drive)
  },

  // {entries: [{key | hex, linkname?, text?, executable?, value?}...]} -> info. Writes keys as they are, however hostile,
  // straight into the bee; `hex` for a key that is no utf-8. `value` replaces the whole entry.
  async raw (drive, { entries }) {
    for (const { key, hex, linkname = null, text, executable = false, value } of entries) {
      const blob = text === undefined ? null : await (await drive.getBlobs()).put(Buffer.from(text))
      const name = hex === undefined ? Buffer.from(key) : Buffer.from(hex, 'hex')
      await drive.db.put(name, value === undefined ? { executable, linkname, blob, metadata: null } : value, { keyEncoding: RAW })
    }
    return info(drive)
  },

  // {folder?, version?, hash?} -> [{path, executable, link, bytes, blob, metadata, sha256?}...]; hash reads every byte.
  async list (drive, { folder = '/', version, hash = false }) {
    const from = at(drive, version)
    const entries = []
    for await (const node of from.list(folder)) {
      const { executable, linkname: link, blob, metadata } = node.value
      const entry = { path: node.key, executable, link, bytes: blob ? blob.byteLength : 0, blob, metadata }
      if (hash) entry.sha256 = (await digest(from, node)).sha256
      entries.push(entry)
    }
    return entries
  },

  // {path, version?} -> {sha256, bytes}
  async digest (drive, { path, version }) {
    const from = at(drive, version)
    const entry = await from.entry(path)
    if (!entry) throw new Error('no entry at ' + path)
    return digest(from, entry)
  },

  // {path, version?} -> {hex} or null
  async get (drive, { path, version }) {
    const bytes = await at(drive, version).get(path)
    return bytes && { hex: bytes.toString('hex') }
  },

  // Asks the connected peers for the newest version -> info.
  async update (drive) {
    await drive.update({ wait: true })
    return info(drive)
  },

  // Fetches every entry and every blob of the newest version -> info.
  async download (drive) {
    await drive.download('/').done()
    return info(drive)
  },

  // {version} -> info, once it is at least that.
  async wait (drive, { version }) {
    while (drive.version < version) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    return info(drive)
  }
}

async function info (drive) {
  return {
    key: drive.key.toString('hex'),
    contentKey: drive.contentKey ? drive.contentKey.toString('hex') : null,
    version: drive.version,
    writable: drive.writable
  }
}

async function digest (drive, entry) {
  const hash = createHash('sha256')
  let bytes = 0
  if (entry.value.blob) {
    for await (const chunk of drive.createReadStream(entry)) {
      hash.update(chunk)
      bytes += chunk.length
    }
  }
  return { sha256: hash.digest('hex'), bytes }
}

function at (drive, version) {
  return version === undefined ? drive : drive.checkout(version)
}

// The key encoding of the drive's entries ("files", 0, name), without the rules of a name.
const RAW = new SubEncoder('files', 'binary')
const POLL_MS = 10
