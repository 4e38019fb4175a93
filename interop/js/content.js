// Deterministic content, computed alike by interop/src/content.rs: bytes from (seed, index, size).
//
// state = mix(seed ^ mix(index + 1)), 0x9e3779b9 if that is 0; then xorshift32 (13, 17, 5), one little-endian word a step,
// cut off at size. mix is the finalizer of MurmurHash3 (32 bits). All arithmetic is modulo 2^32.

module.exports = { content, blocks }

function content (seed, index, size) {
  const words = new Uint32Array(Math.ceil(size / 4))
  let x = mix(seed ^ mix(index + 1)) || 0x9e3779b9
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    words[i] = x
  }
  return Buffer.from(words.buffer, 0, size)
}

// Blocks start .. start + count of a run; size is one number, or a list that the block's index cycles through.
function * blocks ({ seed, start = 0, count, size }) {
  const sizes = [].concat(size)
  for (let i = start; i < start + count; i++) yield content(seed, i, sizes[i % sizes.length])
}

function mix (x) {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return (x ^ (x >>> 16)) >>> 0
}
