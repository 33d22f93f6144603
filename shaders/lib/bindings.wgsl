// What every kernel binds: eight storage buffers, the least that any WebGPU device offers.
//# insert params

struct Header {
  batch: atomic<u32>,    // the batch's number, written last: without it the device has run nothing
  overflow: atomic<u32>, // 1: the group table was too small; 2: a set of distinct values was
  groups: atomic<u32>,   // groups found, also those that did not fit `out`
  pairs: atomic<u32>,    // distinct (group, value) pairs found, likewise
  passed: atomic<u32>,   // rows that passed the filter
  max_row: atomic<u32>,  // the row with the greatest value of the watermark's column, plus one
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> arena: array<u32>;                   // columns and look-up tables
@group(0) @binding(2) var<storage, read_write> header: Header;
@group(0) @binding(3) var<storage, read_write> table: array<atomic<u32>>;     // lib/rowtable.wgsl
@group(0) @binding(4) var<storage, read_write> acc: array<atomic<u32>>;       // WIDTH words a slot
@group(0) @binding(5) var<storage, read_write> registers: array<atomic<u32>>; // REGISTERS words a slot
@group(0) @binding(6) var<storage, read_write> sets: array<atomic<u32>>;      // params.set_slots pairs (row + 1, slot) a set
@group(0) @binding(7) var<storage, read_write> out: array<u32>;               // compact.wgsl
