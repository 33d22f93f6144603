// Partial aggregation into one slot for every possible group: pane and dictionary codes give the slot without a table.
// The host runs it when the product of panes and dictionaries is small.
//# include lib/aggregate.wgsl
//# include lib/hash.wgsl
//# insert dense_slot
//# insert update acc

@compute @workgroup_size(256)
fn aggregate(@builtin(global_invocation_id) id: vec3<u32>) {
  var tally = Tally(0u, 0u);
  for (var row = id.x; row < params.rows; row += params.stride) {
    if (!passes(row)) { continue; }
    count_row(&tally, row);
    if (!has_pane(row)) { continue; }
    let slot = dense_slot(row);
    acc_update(slot, row);
  }
  report(tally);
}
//# include compact.wgsl
