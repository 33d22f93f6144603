// HyperLogLog registers: bytes, four to a word of `registers`.

// Raises the register at byte `at` to `rank`. Most calls only read: a register grows a few times at most.
fn raise_register(at: u32, rank: u32) {
  let word = at >> 2u;
  let shift = (at & 3u) << 3u;
  var old = atomicLoad(&registers[word]);
  while (((old >> shift) & 0xFFu) < rank) {
    let raised = (old & ~(0xFFu << shift)) | (rank << shift);
    let result = atomicCompareExchangeWeak(&registers[word], old, raised);
    if (result.exchanged) { break; }
    old = result.old_value;
  }
}
