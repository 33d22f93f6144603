// HyperLogLog registers: a word each while the kernel runs, since the atomic maximum is for words.

// Raises a register to `rank`. Most calls only read: a register grows a few times at most.
fn raise_register(at: u32, rank: u32) {
  if (atomicLoad(&registers[at]) < rank) { atomicMax(&registers[at], rank); }
}

// Four registers from `at` on as the bytes of a word, which is how they are read back.
fn packed_registers(at: u32) -> u32 {
  return atomicLoad(&registers[at]) | (atomicLoad(&registers[at + 1u]) << 8u) |
    (atomicLoad(&registers[at + 2u]) << 16u) | (atomicLoad(&registers[at + 3u]) << 24u);
}
