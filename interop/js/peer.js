// A JavaScript peer driven by JSON lines: `node peer.js STORE-FOLDER`.
//
// In:  {"id": 1, "do": "core.append", ...}
// Out: {"id": 1, "ok": ...} or {"id": 1, "error": "sentence", "code": "CODE"}, in the order of completion, and
//      {"event": "peer-add", ...} lines whenever something happens by itself.

const path = require('path')
const { createHash } = require('crypto')
const readline = require('readline')
const Corestore = require('corestore')
const Cores = require('./cores')
const Bees = require('./bees')
const Drives = require('./drives')
const Links = require('./links')
const Channels = require('./channels')
const Hyperswarm = require('./hyperswarm')
const Classic = require('./classic')
const Dns = require('./dns')

console.log = console.error // hypercore prints of conflicts; our lines alone go to stdout

const folder = path.resolve(process.argv[2])
const emit = (event, fields) => print({ event, ...fields })

let opened = null // the corestore, made only when asked for, so that plain cores can be alone in the folder
let keys = {} // where the store's keys come from, if not from chance
const store = () => (opened = opened || new Corestore(path.join(folder, 'store'), keys))

const cores = new Cores(folder, store, emit)
const bees = new Bees(cores)
const drives = new Drives(cores, store)
const links = new Links(cores, store, emit)
const channels = new Channels(links, emit)
const hyperswarm = new Hyperswarm()
const classic = new Classic()
const dns = new Dns()

const verbs = {
  ...links.verbs(),
  ...prefixed('core', cores.verbs()),
  ...prefixed('bee', bees.verbs()),
  ...prefixed('drive', drives.verbs()),
  ...prefixed('channel', channels.verbs()),
  ...prefixed('hyperswarm', hyperswarm.verbs()),
  ...prefixed('classic', classic.verbs()),
  ...prefixed('dns', dns.verbs()),
  // {seed}: before anything else is asked for. All peers of one seed are the same writer.
  seed: ({ seed }) => { keys = { primaryKey: createHash('sha256').update(seed).digest(), unsafe: true } },
  memory: () => process.memoryUsage(),
  close
}

readline.createInterface({ input: process.stdin }).on('line', (line) => answer(JSON.parse(line))).on('close', () => process.exit(0))
emit('ready', { node: process.version })

async function answer ({ id, do: name, ...command }) {
  try {
    if (!verbs[name]) throw new Error('no such verb: ' + name)
    print({ id, ok: (await verbs[name](command)) ?? null })
    if (name === 'close') process.stdout.write('', () => process.exit(0))
  } catch (err) {
    print({ id, error: err.message, code: err.code || err.name })
  }
}

async function close () {
  await hyperswarm.close()
  await classic.close()
  await dns.close()
  await links.close()
  await drives.close()
  await cores.close()
  if (opened) await opened.close()
}

function prefixed (noun, verbs) {
  return Object.fromEntries(Object.entries(verbs).map(([verb, run]) => [noun + '.' + verb, run]))
}

function print (object) {
  process.stdout.write(JSON.stringify(object) + '\n')
}
