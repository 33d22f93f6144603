// A 32-bit mix for hash tables. It never leaves the device, so any good mix would do.

fn hash_step(h: u32, word: u32) -> u32 {
  var x = (h ^ word) * 0x9E3779B1u;
  x ^= x >> 15u;
  return x * 0x85EBCA77u;
}

fn hash_end(h: u32) -> u32 {
  var x = h ^ (h >> 15u);
  x *= 0x2C1B3C6Du;
  x ^= x >> 12u;
  x *= 0x297A2D39u;
  return x ^ (x >> 15u);
}
