// Protomux channels of the driver's own, on the connections that carry cores.
//
// Events: offered {conn, protocol, tag}, opened {channel, conn, protocol, tag, handshake}, closed {channel, opened},
// message {channel, kind, bytes, sha256}. A tag is the channel's id and text, as handshakes are; a channel's number
// counts over all connections.

const { createHash } = require('crypto')
const Protomux = require('protomux')
const c = require('compact-encoding')
const { content } = require('./content')

const KINDS = 3

module.exports = class Channels {
  constructor (links, emit) {
    this.emit = emit
    this.muxes = new Map()
    this.pairs = new Map()
    this.channels = []
    links.onjoin = (conn, stream) => this.join(conn, Protomux.from(stream.noiseStream))
  }

  verbs () {
    return {
      pair: (command) => this.pair(command),
      open: (command) => this.open(command),
      send: (command) => this.send(command),
      close: ({ channel }) => this.channels[channel].close()
    }
  }

  join (conn, mux) {
    this.muxes.set(conn, mux)
    for (const [protocol, answer] of this.pairs) this.answer(conn, mux, protocol, answer)
  }

  // {protocol, handshake?}: what is offered under any id is opened with this handshake, or rejected if there is none.
  pair ({ protocol, handshake }) {
    this.pairs.set(protocol, handshake)
    for (const [conn, mux] of this.muxes) this.answer(conn, mux, protocol, handshake)
  }

  answer (conn, mux, protocol, handshake) {
    mux.pair({ protocol }, (id) => {
      const tag = id ? id.toString() : ''
      this.emit('offered', { conn, protocol, tag })
      if (handshake !== undefined) this.open({ conn, protocol, tag, handshake })
    })
  }

  // {conn, protocol, aliases?, tag?, handshake, messages?} -> {channel}, or null if there is one already. `messages`, as
  // those of send, go out at once.
  open ({ conn, protocol, aliases = [], tag = '', handshake, messages = [] }) {
    const channel = this.muxes.get(conn).createChannel({
      protocol,
      aliases,
      id: tag ? Buffer.from(tag) : null,
      handshake: c.raw, // c.raw.string reads on into whatever came behind the handshake in one batch
      onopen: (theirs) => this.emit('opened', { channel: number, conn, protocol, tag, handshake: theirs.toString() }),
      onclose: () => this.emit('closed', { channel: number, opened: channel.opened })
    })
    if (channel === null) return null
    const number = this.channels.push(channel) - 1
    for (let kind = 0; kind < KINDS; kind++) channel.addMessage({ onmessage: (body) => this.heard(number, kind, body) })
    channel.open(Buffer.from(handshake))
    this.send({ channel: number, messages })
    return { channel: number }
  }

  heard (channel, kind, body) {
    const sha256 = createHash('sha256').update(body).digest('hex')
    this.emit('message', { channel, kind, bytes: body.byteLength, sha256 })
  }

  // {channel, messages: [{kind, seed, size}...]}: in one batch if there are several; a body is content(seed, 0, size).
  send ({ channel: number, messages }) {
    const channel = this.channels[number]
    if (messages.length > 1) channel.cork()
    for (const { kind, seed, size } of messages) channel.messages[kind].send(content(seed, 0, size))
    if (messages.length > 1) channel.uncork()
  }
}
