// Gathers the occupied slots into `out`, so that the host reads back groups and not the table: for each group its slot,
// its accumulators and its HLL registers; from params.pairs_at on, for each distinct pair its set, its slot and its row.
// The order is whatever the device does; the host sorts by first row. A dispatch of its own, since only that orders it
// after all of the aggregation.

@compute @workgroup_size(256)
fn compact(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x == 0u) { atomicStore(&header.batch, params.batch); }
  for (var slot = id.x; slot < params.slots; slot += params.compact_stride) {
    let from_acc = slot * WIDTH;
    if (atomicLoad(&acc[from_acc]) == 0u) { continue; }
    let group = atomicAdd(&header.groups, 1u);
    if (group >= params.out_groups) { continue; }
    var to = group * (1u + WIDTH + REGISTERS / 4u);
    out[to] = slot;
    to++;
    for (var k = 0u; k < WIDTH; k++) { out[to + k] = atomicLoad(&acc[from_acc + k]); }
    to += WIDTH;
    for (var k = 0u; k < REGISTERS; k += 4u) { out[to + k / 4u] = packed_registers(slot * REGISTERS + k); }
  }
  for (var entry = id.x; entry < params.set_slots * SETS; entry += params.compact_stride) {
    let holder = atomicLoad(&sets[2u * entry]);
    if (holder == 0u) { continue; }
    let pair = atomicAdd(&header.pairs, 1u);
    if (pair >= params.out_pairs) { continue; }
    let to = params.pairs_at + 3u * pair;
    out[to] = entry / params.set_slots;
    out[to + 1u] = atomicLoad(&sets[2u * entry + 1u]);
    out[to + 2u] = holder - 1u;
  }
}
