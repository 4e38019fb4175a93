// Lines between programs over a protocol of their own: node chat.js NAME [tcp://HOST:PORT], which dials or listens.
// The same as swarm/examples/chat.rs: a line is message 0 of the channel, a name its handshake.

const net = require('net')
const readline = require('readline')
const SecretStream = require('@hyperswarm/secret-stream')
const Protomux = require('protomux')
const c = require('compact-encoding')

const [name, address] = process.argv.slice(2)
const chats = new Set()

function join (isInitiator, socket) {
  const stream = new SecretStream(isInitiator, socket)
  stream.on('error', (err) => console.error(err.message))
  const channel = Protomux.from(stream).createChannel({
    protocol: 'anypath-example/chat',
    handshake: c.raw, // not c.raw.string, which reads on into what follows in the same batch
    onopen: (handshake) => {
      const theirs = handshake.toString()
      channel.userData = theirs
      console.log(theirs + ' is here')
    },
    onclose: () => {
      chats.delete(chat)
      console.log((channel.userData || '') + ' left')
    }
  })
  const line = channel.addMessage({ encoding: c.raw, onmessage: (text) => console.log(channel.userData + ': ' + text.toString()) })
  const chat = { channel, line, stream }
  chats.add(chat)
  channel.open(Buffer.from(name))
}

if (address) {
  const { hostname, port } = new URL(address)
  join(true, net.connect(port, hostname))
} else {
  const server = net.createServer((socket) => join(false, socket))
  server.listen(0, '127.0.0.1', () => console.log('listening at tcp://127.0.0.1:' + server.address().port))
  process.stdin.on('end', () => server.close())
}

readline.createInterface({ input: process.stdin })
  .on('line', (text) => chats.forEach(({ line }) => line.send(Buffer.from(text))))
  .on('close', () => chats.forEach(({ channel, stream }) => { channel.close(); stream.end() }))
