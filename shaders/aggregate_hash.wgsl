// Partial aggregation into a hash table of groups. The host runs it when the groups cannot be counted beforehand.
//# include lib/aggregate.wgsl
//# include lib/hash.wgsl
//# insert hash
//# include lib/rowtable.wgsl
//# insert update acc

@compute @workgroup_size(256)
fn aggregate(@builtin(global_invocation_id) id: vec3<u32>) {
  var tally = Tally(0u, 0u);
  for (var row = id.x; row < params.rows; row += params.stride) {
    if (!passes(row)) { continue; }
    count_row(&tally, row);
    if (!has_pane(row)) { continue; }
    let slot = find_slot(row);
    if (slot != NO_SLOT) { acc_update(slot, row); }
  }
  report(tally);
}
//# include compact.wgsl
