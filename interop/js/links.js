// TCP connections with a replication stream piped in, as any JavaScript program does it.

const net = require('net')

module.exports = class Links {
  constructor (cores, store, emit) {
    this.cores = cores
    this.store = store
    this.emit = emit
    this.servers = []
    this.sockets = new Set()
    this.count = 0
    this.onjoin = () => {}
  }

  verbs () {
    return {
      listen: (command) => this.listen(command),
      dial: (command) => this.dial(command),
      disconnect: () => this.disconnect(),
      close: () => this.close()
    }
  }

  // {host?, port?, core?} -> {port}. With `core` that core alone is replicated, otherwise the whole store.
  async listen ({ host = '127.0.0.1', port = 0, core }) {
    const server = net.createServer((socket) => this.join(socket, false, core))
    await new Promise((resolve, reject) => server.once('error', reject).listen(port, host, resolve))
    this.servers.push(server)
    return { port: server.address().port }
  }

  // {host?, port, core?} -> {conn, remote}, once the handshake is over.
  async dial ({ host = '127.0.0.1', port, core }) {
    const socket = net.connect(port, host)
    await new Promise((resolve, reject) => socket.once('error', reject).once('connect', resolve))
    const conn = this.join(socket, true, core)
    const opened = await conn.stream.noiseStream.opened
    if (!opened) throw new Error('the connection closed during the handshake')
    return { conn: conn.id, remote: conn.stream.noiseStream.remotePublicKey.toString('hex') }
  }

  join (socket, isInitiator, core) {
    const id = this.count++
    const stream = (core ? this.cores.get(core) : this.store()).replicate(isInitiator)
    const ended = (from) => (err) => this.emit('failed', { conn: id, from, message: err.message, code: err.code })
    this.onjoin(id, stream)
    this.sockets.add(socket)
    socket.on('error', ended('socket'))
    stream.on('error', ended('stream'))
    socket.on('close', () => {
      this.sockets.delete(socket)
      this.emit('disconnected', { conn: id })
    })
    stream.noiseStream.opened.then((opened) => {
      if (!opened) return
      this.emit('connected', { conn: id, isInitiator, remote: stream.noiseStream.remotePublicKey.toString('hex') })
    })
    socket.pipe(stream).pipe(socket)
    return { id, stream }
  }

  // Cuts every connection, as a cable would; listening goes on.
  async disconnect () {
    const closed = [...this.sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve).destroy()))
    await Promise.all(closed)
    return { closed: closed.length }
  }

  async close () {
    const closed = this.servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve)))
    await this.disconnect()
    await Promise.all(closed)
  }
}
