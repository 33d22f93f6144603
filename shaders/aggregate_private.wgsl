// Partial aggregation into accumulators of the workgroup, added to the global ones once at the end. The host runs it when
// all possible groups fit workgroup memory: few groups would else mean many atomics on the same words.
//# include lib/aggregate.wgsl
//# include lib/hash.wgsl
//# insert dense_slot

// Zero at the start, as all workgroup memory.
var<workgroup> lacc: array<atomic<u32>, PRIVATE_WORDS>;
//# insert update lacc
//# include lib/flush.wgsl
//# insert flush

@compute @workgroup_size(256)
fn aggregate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var tally = Tally(0u, 0u);
  for (var row = id.x; row < params.rows; row += params.stride) {
    if (!passes(row)) { continue; }
    count_row(&tally, row);
    if (!has_pane(row)) { continue; }
    let slot = dense_slot(row);
    lacc_update(slot, row);
  }
  report(tally);
  workgroupBarrier();
  for (var slot = lane; slot < params.slots; slot += 256u) {
    if (atomicLoad(&lacc[slot * WIDTH]) != 0u) { flush(slot); }
  }
}
//# include compact.wgsl
