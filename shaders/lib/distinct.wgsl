// The set of distinct (group, code) pairs: a hash table in `sets` whose entries are the first row that claimed them, plus
// one, and that row's slot. The claimer alone writes the slot, and only the next dispatch reads it; comparing goes by the
// columns.

fn INSERT(slot: u32, row: u32) {
  let code = CODE(row);
  let mask = params.set_slots - 1u;
  var entry = hash_end(hash_step(hash_step(0u, slot), code)) & mask;
  for (var probe = 0u; probe < params.probes; probe++) {
    let at = 2u * (SET * params.set_slots + entry);
    var holder = atomicLoad(&sets[at]);
    while (holder == 0u) {
      let claim = atomicCompareExchangeWeak(&sets[at], 0u, row + 1u);
      if (claim.exchanged) {
        atomicStore(&sets[at + 1u], slot);
        return;
      }
      holder = claim.old_value;
    }
    if (CODE(holder - 1u) == code && same_group(holder - 1u, row)) { return; }
    entry = (entry + 1u) & mask;
    if (probe == 8u && atomicLoad(&header.overflow) != 0u) { return; }
  }
  atomicOr(&header.overflow, 2u);
}
