// What the three aggregation kernels share: the query's columns, filter and pane, and the tally of the rows seen.
//# include lib/bindings.wgsl
//# include lib/u64.wgsl
//# include lib/order_key.wgsl
//# include lib/columns.wgsl
//# include lib/hll.wgsl
//# insert columns
//# insert filter
//# insert pane
//# insert same_group

// Kept in registers while an invocation walks its rows, so that hot words of the header see one atomic an invocation.
struct Tally {
  passed: u32,
  max_row: u32, // plus one; 0 = none
}

//# insert max_of

fn count_row(tally: ptr<function, Tally>, row: u32) {
  (*tally).passed += 1u;
  (*tally).max_row = later_row((*tally).max_row, row);
}

fn report(tally: Tally) {
  if (tally.passed != 0u) { atomicAdd(&header.passed, tally.passed); }
  if (tally.max_row == 0u) { return; }
  var best = atomicLoad(&header.max_row);
  loop {
    let wanted = later_row(best, tally.max_row - 1u);
    if (wanted == best) { break; }
    let result = atomicCompareExchangeWeak(&header.max_row, best, wanted);
    if (result.exchanged) { break; }
    best = result.old_value;
  }
}
