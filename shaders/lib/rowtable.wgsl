// An open-addressing hash table of rows: an entry is the first row that claimed it, plus one; 0 is a free entry. One
// compare-and-exchange claims an entry, and keys are compared by reading the columns of the row that holds it, so keys
// may be of any number and width, and nobody waits for anybody.
//
// Uses: table, params.slots (a power of two), params.probes, hash_group(row), same_group(a, b).

const NO_SLOT: u32 = 0xFFFFFFFFu;

// The slot of the row's group. NO_SLOT, and the overflow flag, when none was found in params.probes steps: the host then
// runs the batch again with a larger table.
fn find_slot(row: u32) -> u32 {
  let mask = params.slots - 1u;
  var slot = hash_group(row) & mask;
  for (var probe = 0u; probe < params.probes; probe++) {
    var holder = atomicLoad(&table[slot]);
    while (holder == 0u) {
      let claim = atomicCompareExchangeWeak(&table[slot], 0u, row + 1u);
      if (claim.exchanged) { return slot; }
      holder = claim.old_value; // still 0 after a spurious failure: try again
    }
    if (same_group(holder - 1u, row)) { return slot; }
    slot = (slot + 1u) & mask;
    // In a table that is known to be too small, the rest of the rows need not search it from end to end.
    if (probe == 8u && atomicLoad(&header.overflow) != 0u) { return NO_SLOT; }
  }
  atomicOr(&header.overflow, 1u);
  return NO_SLOT;
}
