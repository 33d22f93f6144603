// Least or greatest value of a group: the accumulator holds the row that has it, plus one; 0 = none yet. Values of any
// width fit one atomic that way, since the column itself is read only. Most calls only read; a call tries again only
// after another row won.

// Offers `row` to the accumulator at `at`.
fn acc_offer(at: u32, row: u32) {
  let key = KEY(row);
  var best = atomicLoad(&acc[at]);
  loop {
    if (best != 0u) {
      let held = KEY(best - 1u);
      if (!less64(BETTER)) { break; }
    }
    let result = atomicCompareExchangeWeak(&acc[at], best, row + 1u);
    if (result.exchanged) { break; }
    best = result.old_value;
  }
}
