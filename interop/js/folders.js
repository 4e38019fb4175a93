// Folders in and out of a drive: files, executable bits, symlinks. Empty folders have no place in a drive.

const fs = require('fs')
const path = require('path')
const { pipeline } = require('stream/promises')

module.exports = { read, write }

async function read (drive, folder) {
  const total = { files: 0, bytes: 0 }
  for (const name of walk(folder, '')) {
    const source = path.join(folder, name)
    const stat = fs.lstatSync(source)
    if (stat.isSymbolicLink()) {
      await drive.symlink('/' + name, fs.readlinkSync(source))
    } else if (stat.size <= WHOLE_BYTES_MAX) {
      await drive.put('/' + name, fs.readFileSync(source), { executable: (stat.mode & 0o100) !== 0 })
    } else {
      await pipeline(fs.createReadStream(source, { highWaterMark: CHUNK_BYTES }), drive.createWriteStream('/' + name, { executable: (stat.mode & 0o100) !== 0 }))
    }
    total.files++
    total.bytes += stat.isSymbolicLink() ? 0 : stat.size
  }
  return total
}

async function write (drive, folder) {
  const total = { files: 0, bytes: 0 }
  for await (const { key, value } of drive.list('/')) {
    const target = path.join(folder, key)
    if (!target.startsWith(path.join(folder, '/'))) throw new Error('outside of the folder: ' + key)
    fs.mkdirSync(path.dirname(target), { recursive: true })
    if (value.linkname) {
      fs.symlinkSync(value.linkname, target)
    } else if (!value.blob || value.blob.byteLength <= WHOLE_BYTES_MAX) {
      fs.writeFileSync(target, (await drive.get(key)) || '', { mode: value.executable ? 0o755 : 0o644 })
    } else {
      await pipeline(drive.createReadStream(key), fs.createWriteStream(target, { mode: value.executable ? 0o755 : 0o644 }))
    }
    total.files++
    total.bytes += value.blob ? value.blob.byteLength : 0
  }
  return total
}

function * walk (folder, prefix) {
  for (const entry of fs.readdirSync(path.join(folder, prefix), { withFileTypes: true })) {
    const name = path.posix.join(prefix, entry.name)
    if (entry.isDirectory()) yield * walk(folder, name)
    else yield name
  }
}

const WHOLE_BYTES_MAX = 4 * 1024 * 1024 // files up to here are read at once
const CHUNK_BYTES = 65536
