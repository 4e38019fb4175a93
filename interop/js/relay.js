// A foreign client of an anypath relay: byte streams to peers, by POST requests alone. Plain Node, nothing to build.
//
//   const relay = await Relay.open('https://relay.example#KEY')
//   const [peer] = await relay.lookUp(discoveryKey)
//   const stream = relay.connect(peer) // a Duplex: pipe it into corestore.replicate(true)
//
// What is spoken is written down in transports/src/https/session (mod.rs, opening.rs, record.rs, control.rs, frame.rs)
// and transports/src/https/target.rs. This client does what it must: records are numbered, sealed once and sent again as
// the same bytes until they are acknowledged; two requests are held by the relay as polls; credit goes both ways. It does
// not probe for anything faster, and reaches relays directly, not through proxies.

const { Duplex } = require('stream')
const c = require('compact-encoding')
const Noise = require('noise-handshake')
const curve = require('noise-curve-ed')
const sodium = require('sodium-universal')
const { decode } = require('hypercore-id-encoding')

const [DATA, CONTROL, FORGOTTEN] = [0xa1, 0xa2, 0xa3] // kinds of records
const [OPEN, ACCEPT, BYTES, CLEAR_BYTES, END, RESET, CREDIT] = [1, 2, 3, 4, 5, 6, 7] // frames
const [CLOSE] = [5] // items of control records
const HEADER = 15 // of a record: kind, two lengths of 3 bytes, number
const TAG = 16
const CIPHERTEXT = 2 // a circuit's bytes are encrypted from end to end already
const CREDIT_FIRST = 128 << 10 // what either end may send before it is told more
const WINDOW = 1 << 20 // what we let the other end send ahead, and what we send unacknowledged
const SEGMENT = 15 << 10 // the longest piece of a circuit's bytes
const BODY = 256 << 10 // the longest body
const POLLS = 2
const HOLD_MS = 25000
const RETRIES = 8

class Relay {
  constructor (base, opened) {
    Object.assign(this, opened, { base, control: 0, segment: 0, exchange: 0, circuit: 0 })
    this.open = new Set() // the exchanges under way
    this.unacked = new Map() // segments by number: { record, via }, via the exchange they travel in, if any
    this.got = { next: 0, beyond: new Set() } // segments that came
    this.circuits = new Map()
    this.sending = false
    this.abort = new AbortController()
    this.error = null
    for (let i = 0; i < POLLS; i++) this._poll()
  }

  // Opens a session with the relay of that address; its key, if the address has none, is what TLS vouches for.
  static async open (address) {
    const { origin, hash } = new URL(address)
    const text = await (await fetch(origin + '/.well-known/anypath')).text()
    const key = (/ key=(\w+)/.exec(text) || [])[1]
    if (!text.startsWith('anypath-relay ') || !key) throw new Error(origin + ' is no anypath relay')
    if (hash && hash.slice(1) !== key) throw new Error(origin + ' has another key: ' + key)
    // NK is how XK begins, without its last message.
    const noise = new Noise('XK', true, null, { curve })
    noise.handshake = noise.handshake.slice(0, 3)
    noise.protocol = Buffer.from('Noise_NK_Ed25519_ChaChaPoly_BLAKE2b')
    noise.initialise(Buffer.from('anypath session'), decode(key))
    const asked = noise.send(Buffer.concat([c.encode(c.uint, 1), c.encode(c.uint, 0), c.encode(c.buffer, Buffer.alloc(0))]))
    const answer = await post(origin + '/v1/o/a', asked)
    const state = reader(noise.recv(answer))
    const reason = c.uint.decode(state)
    if (reason !== 0) throw new Error('the relay refuses a session: reason ' + reason)
    const [session] = [c.fixed(16).decode(state), c.fixed(16).decode(state), c.uint.decode(state)]
    const tag = c.string.decode(state)
    return new Relay(origin, { session: Buffer.from(session), tag, tx: keys(noise.tx), rx: keys(noise.rx) })
  }

  // Returns the keys of the peers that are announced under a topic.
  async lookUp (topic) {
    const stream = this._circuit(Buffer.concat([Buffer.from([4]), topic]), 0)
    stream.end()
    const pieces = []
    for await (const piece of stream) pieces.push(piece)
    const all = Buffer.concat(pieces)
    return Array.from({ length: all.length / 32 }, (_, i) => all.subarray(32 * i, 32 * i + 32))
  }

  // Returns a byte stream to the peer with that key.
  connect (key) {
    return this._circuit(Buffer.concat([Buffer.from([1]), key]), CIPHERTEXT)
  }

  async close () {
    const polls = this.abort
    this.abort = new AbortController()
    await this._exchange([], 0, Buffer.from([CLOSE, 1, 0])).catch(() => {})
    this._fail(new Error('the session was closed'))
    polls.abort()
  }

  _circuit (target, flags) {
    const id = 2 * this.circuit++
    const circuit = new Circuit(this, id, flags === CIPHERTEXT)
    this.circuits.set(id, circuit)
    this._say(frame(OPEN, id, flags), c.encode(c.buffer, target))
    return circuit
  }

  // Seals a segment; it is kept until it is acknowledged.
  _say (text, more = Buffer.alloc(0), clear = Buffer.alloc(0)) {
    const number = this.segment++
    const record = seal(this.tx.data, DATA, number, clear, Buffer.concat([text, more]))
    this.unacked.set(number, { record, via: null })
    if (!this.sending) this._send()
  }

  get unackedBytes () {
    return [...this.unacked.values()].reduce((sum, { record }) => sum + record.length, 0)
  }

  // Sends what waits, one request after the other.
  async _send () {
    this.sending = true
    await null // what is said at once goes together
    for (let segments; !this.error && (segments = this._waiting()).length > 0;) await this._try(segments, 0)
    this.sending = false
  }

  _waiting () {
    let room = BODY
    const fits = ({ record, via }) => via === null && (room -= record.length) > 0
    return [...this.unacked.values()].filter(fits)
  }

  async _poll () {
    while (!this.error) await this._try([], HOLD_MS)
  }

  // Makes an exchange, and another one in its place if it fails; the last failure ends the session.
  async _try (segments, hold) {
    try {
      await this._exchange(segments, hold)
      this.failures = 0
    } catch (err) {
      if (this.error) return
      this.failures = (this.failures || 0) + 1
      if (this.failures > RETRIES) return this._fail(err)
      await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** this.failures))
    }
  }

  async _exchange (segments, hold, more = Buffer.alloc(0)) {
    const number = this.exchange++
    const control = Buffer.concat([this._acks(), this._item(number, hold), more])
    const records = [seal(this.tx.control, CONTROL, this.control++, Buffer.alloc(0), control)]
    for (const segment of segments) {
      segment.via = number
      records.push(segment.record)
    }
    this.open.add(number)
    try {
      const body = Buffer.concat([this.session, ...records])
      this._take(await post(`${this.base}/v1/x/${this.tag}/${number}`, body, this.abort.signal))
    } finally {
      this.open.delete(number)
      // What travelled in it and is not acknowledged by now is lost.
      for (const segment of this.unacked.values()) if (segment.via === number) segment.via = null
    }
  }

  _acks () {
    const beyond = [...this.got.beyond].sort((a, b) => a - b)
    const ranges = []
    for (const number of beyond) {
      const last = ranges[ranges.length - 1]
      if (last && last[1] === number) last[1]++
      else ranges.push([number, number + 1])
    }
    const numbers = [this.got.next, Math.min(ranges.length, 64)]
    let at = this.got.next
    for (const [from, to] of ranges.slice(0, 64)) {
      numbers.push(from - at, to - from)
      at = to
    }
    return uints(numbers)
  }

  _item (number, hold) {
    const others = [...this.open].sort((a, b) => a - b)
    const body = uints([number, hold, WINDOW, 0, others.length, ...others])
    return Buffer.concat([Buffer.from([1]), c.encode(c.buffer, body)])
  }

  // Takes the records of an answer.
  _take (bytes) {
    while (bytes.length > 0) {
      const kind = bytes[0]
      if (kind === FORGOTTEN) return this._fail(new Error('the relay has forgotten the session'))
      if ((kind !== DATA && kind !== CONTROL) || bytes.length < HEADER + TAG) throw new Error('what answers is no relay')
      const [clear, sealed] = [bytes.readUIntLE(1, 3), bytes.readUIntLE(4, 3)]
      const number = Number(bytes.readBigUInt64LE(7))
      const [head, end] = [HEADER + clear, HEADER + clear + sealed + TAG]
      const key = kind === DATA ? this.rx.data : this.rx.control
      const text = unseal(key, number, bytes.subarray(0, head), bytes.subarray(head, end))
      if (kind === CONTROL) this._control(text)
      else if (this._isNew(number)) this._frames(text, bytes.subarray(HEADER, head))
      bytes = bytes.subarray(end)
    }
  }

  _control (text) {
    const state = reader(text)
    let at = c.uint.decode(state)
    for (const number of this.unacked.keys()) if (number < at) this.unacked.delete(number)
    for (let count = c.uint.decode(state); count > 0; count--) {
      const from = at + c.uint.decode(state)
      at = from + c.uint.decode(state)
      for (let number = from; number < at && number < this.segment; number++) this.unacked.delete(number)
    }
    while (state.start < state.end) {
      const kind = c.uint8.decode(state)
      c.buffer.decode(state)
      if (kind === CLOSE) this._fail(new Error('the relay has ended the session'))
    }
    for (const circuit of this.circuits.values()) circuit._push()
  }

  _isNew (number) {
    const { got } = this
    if (number < got.next || got.beyond.has(number)) return false
    got.beyond.add(number)
    while (got.beyond.delete(got.next)) got.next++
    return true
  }

  _frames (text, clear) {
    const state = reader(text)
    while (state.start < state.end) {
      const [kind, id] = [c.uint.decode(state), c.uint.decode(state)]
      const circuit = this.circuits.get(id)
      if (kind === CREDIT) {
        const limit = c.uint.decode(state)
        if (circuit) circuit._credit(limit)
        continue
      }
      const place = kind === ACCEPT ? 0 : c.uint.decode(state)
      let bytes = null
      if (kind === BYTES) bytes = c.buffer.decode(state) || Buffer.alloc(0)
      if (kind === CLEAR_BYTES) bytes = clear
      if (kind === RESET) bytes = c.uint.decode(state)
      if (circuit) circuit._frame(place, kind, bytes)
    }
  }

  _fail (err) {
    this.error = this.error || err
    this.abort.abort()
    for (const circuit of [...this.circuits.values()]) circuit.destroy(this.error)
  }
}

class Circuit extends Duplex {
  constructor (relay, id, ciphertext) {
    super()
    Object.assign(this, { relay, id, ciphertext, place: 1, sent: 0, limit: CREDIT_FIRST })
    Object.assign(this, { due: 0, early: new Map(), got: 0, granted: CREDIT_FIRST, waiting: null, done: null })
  }

  _write (bytes, encoding, done) {
    this.waiting = bytes
    this.done = done
    this._push()
  }

  _final (done) {
    this.relay._say(frame(END, this.id, this.place++))
    done()
  }

  // Says what waits, as far as there is credit, and room for what is not acknowledged.
  _push () {
    while (this.waiting && this.relay.unackedBytes < WINDOW) {
      const room = Math.min(SEGMENT, this.limit - this.sent, this.waiting.length)
      if (room === 0 && this.waiting.length > 0) return
      const piece = this.waiting.subarray(0, room)
      this.sent += piece.length
      if (this.ciphertext) this.relay._say(frame(CLEAR_BYTES, this.id, this.place++), undefined, piece)
      else this.relay._say(frame(BYTES, this.id, this.place++), c.encode(c.buffer, piece))
      if (room < this.waiting.length) {
        this.waiting = this.waiting.subarray(room)
        continue
      }
      const { done } = this
      this.waiting = this.done = null
      done()
    }
  }

  _credit (limit) {
    this.limit = Math.max(this.limit, limit)
    this._push()
  }

  // Takes frames in the order of their places.
  _frame (place, kind, bytes) {
    this.early.set(place, [kind, bytes])
    for (let next; (next = this.early.get(this.due)); this.due++) {
      this.early.delete(this.due)
      const [kind, bytes] = next
      if (kind === RESET) this.destroy(new Error('the circuit was refused or ended: reason ' + bytes))
      if (kind === END) this.push(null)
      if (kind === BYTES || kind === CLEAR_BYTES) {
        this.got += bytes.length
        this.push(bytes)
      }
    }
    this._read()
  }

  // Lets the other end send more as what came is read.
  _read () {
    const limit = this.got - this.readableLength + WINDOW
    if (limit - this.granted < WINDOW / 2 || this.destroyed) return
    this.granted = limit
    this.relay._say(frame(CREDIT, this.id, limit))
  }

  _destroy (err, done) {
    this.relay.circuits.delete(this.id)
    const over = this.readableEnded && this.writableFinished
    if (!over && !this.relay.error) this.relay._say(frame(RESET, this.id, this.place++, 20))
    done(err)
  }
}

async function post (url, body, signal) {
  const headers = { 'content-type': 'application/octet-stream' }
  const response = await fetch(url, { method: 'POST', body, headers, signal })
  if (response.status !== 200) throw new Error('the relay answered ' + response.status)
  return Buffer.from(await response.arrayBuffer())
}

function uints (numbers) {
  return Buffer.concat(numbers.map((number) => c.encode(c.uint, number)))
}

function reader (bytes) {
  return c.state(0, bytes.length, bytes)
}

function frame (kind, ...numbers) {
  return Buffer.concat([Buffer.from([kind]), uints(numbers)])
}

function keys (key) {
  const derive = (name) => {
    const derived = Buffer.alloc(32)
    sodium.crypto_generichash(derived, Buffer.from('anypath session ' + name), Buffer.from(key))
    return derived
  }
  return { data: derive('data'), control: derive('control') }
}

function nonce (number) {
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64LE(BigInt(number), 4)
  return nonce
}

function seal (key, kind, number, clear, text) {
  const record = Buffer.alloc(HEADER + clear.length + text.length + TAG)
  record[0] = kind
  record.writeUIntLE(clear.length, 1, 3)
  record.writeUIntLE(text.length, 4, 3)
  record.writeBigUInt64LE(BigInt(number), 7)
  clear.copy(record, HEADER)
  const head = HEADER + clear.length
  const sealed = record.subarray(head)
  sodium.crypto_aead_chacha20poly1305_ietf_encrypt(sealed, text, record.subarray(0, head), null, nonce(number), key)
  return record
}

function unseal (key, number, associated, sealed) {
  const text = Buffer.alloc(sealed.length - TAG)
  sodium.crypto_aead_chacha20poly1305_ietf_decrypt(text, null, sealed, associated, nonce(number), key)
  return text
}

module.exports = Relay
