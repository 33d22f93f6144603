// Partial aggregation into one slot for every possible group: pane and dictionary codes give the slot without a table.
// The host runs it when the product of panes and dictionaries is small.
// What the three aggregation kernels share: the query's columns, filter and pane, and the tally of the rows seen.
// What every kernel binds: eight storage buffers, the least that any WebGPU device offers.

// One word each, in the order in which the host writes them.
struct Params {
  rows: u32,
  stride: u32,
  compact_stride: u32,
  batch: u32,
  slots: u32,
  probes: u32,
  set_slots: u32,
  out_groups: u32,
  out_pairs: u32,
  pairs_at: u32,
  c0_at: u32,
  c0_valid_at: u32,
  c0_valid_bit: u32,
  c0_base_low: u32,
  c0_base_high: u32,
  c1_at: u32,
  c1_lanes: u32,
  c1_null: u32,
  c2_at: u32,
  c2_lanes: u32,
  c2_null: u32,
  c3_at: u32,
  c3_valid_at: u32,
  c3_valid_bit: u32,
  c3_exponent_min: u32,
  c4_at: u32,
  c4_lanes: u32,
  c4_null: u32,
  c5_at: u32,
  c5_lanes: u32,
  c5_null: u32,
  pane_width_low: u32,
  pane_width_high: u32,
  pane_step: u32,
  key0_step: u32,
  table0_at: u32,
  table2_at: u32,
  hll_table0_at: u32,
}

const WIDTH: u32 = 3u;          // words of a slot's accumulators
const REGISTERS: u32 = 512u;      // HLL registers of a slot
const SETS: u32 = 0u;           // sets of distinct values
const PRIVATE_WORDS: u32 = 3840u;


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
// 64-bit integers in two u32 words: x is the low word, y the high one. Arithmetic wraps.

fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn sub64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

// a < b, both unsigned.
fn less64(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

// a >> n for n < 64. WGSL takes shift distances modulo 32, so the edges are spelt out.
fn shr64(a: vec2<u32>, n: u32) -> vec2<u32> {
  if (n == 0u) { return a; }
  if (n >= 32u) { return vec2<u32>(a.y >> (n - 32u), 0u); }
  return vec2<u32>((a.x >> n) | (a.y << (32u - n)), a.y >> n);
}

// (high:low) / d and the remainder, for high < d: schoolbook division in base 2^16 of a divisor scaled so that its top
// bit is set (Knuth's algorithm D); each trial digit is at most two too large.
fn divide_digits(high: u32, low: u32, d: u32) -> vec2<u32> {
  let scale = countLeadingZeros(d);
  let divisor = d << scale;
  let d1 = divisor >> 16u;
  let d0 = divisor & 0xFFFFu;
  var top = high << scale;
  if (scale != 0u) { top |= low >> (32u - scale); }
  let rest = low << scale;
  let rest1 = rest >> 16u;
  let rest0 = rest & 0xFFFFu;
  var q1 = top / d1;
  var r = top - q1 * d1;
  for (var i = 0u; i < 2u; i++) {
    if (r < 0x10000u && (q1 >= 0x10000u || q1 * d0 > ((r << 16u) | rest1))) {
      q1 -= 1u;
      r += d1;
    }
  }
  let middle = (top << 16u) + rest1 - q1 * divisor;
  var q0 = middle / d1;
  r = middle - q0 * d1;
  for (var i = 0u; i < 2u; i++) {
    if (r < 0x10000u && (q0 >= 0x10000u || q0 * d0 > ((r << 16u) | rest0))) {
      q0 -= 1u;
      r += d1;
    }
  }
  return vec2<u32>((q1 << 16u) + q0, ((middle << 16u) + rest0 - q0 * divisor) >> scale);
}

// n / d, both unsigned, d > 0. A divisor past 32 bits is rare (a pane longer than 71 minutes whose width is odd, say):
// it takes one step for each bit of the quotient, which then fits 32 bits.
fn div64(n: vec2<u32>, d: vec2<u32>) -> vec2<u32> {
  if (d.y == 0u) {
    let high = n.y / d.x;
    return vec2<u32>(divide_digits(n.y - high * d.x, n.x, d.x).x, high);
  }
  var remainder = vec2<u32>(n.y, 0u);
  var quotient = 0u;
  for (var i = 0u; i < 32u; i++) {
    let carry = remainder.y >> 31u;
    remainder = vec2<u32>((remainder.x << 1u) | ((n.x >> (31u - i)) & 1u), (remainder.y << 1u) | (remainder.x >> 31u));
    quotient = quotient << 1u;
    if (carry == 1u || !less64(remainder, d)) {
      remainder = sub64(remainder, d);
      quotient |= 1u;
    }
  }
  return vec2<u32>(quotient, 0u);
}
// Order keys: unsigned 64-bit integers (low, high) that compare as the values do. They are the host's signed keys with
// the sign bit flipped.

fn i64_key(value: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(value.x, value.y ^ 0x80000000u);
}

// The bits of a double: -0.0 = 0.0, all NaNs are one value, greater than infinity. No float is ever compared, so that
// fast-math drivers cannot change an answer.
fn f64_key(bits: vec2<u32>) -> vec2<u32> {
  let magnitude = vec2<u32>(bits.x, bits.y & 0x7FFFFFFFu);
  if (magnitude.y > 0x7FF00000u || (magnitude.y == 0x7FF00000u && magnitude.x != 0u)) {
    return vec2<u32>(0u, 0xFFF80000u);
  }
  if ((bits.y >> 31u) != 0u) {
    return i64_key(sub64(vec2<u32>(0u, 0u), magnitude));
  }
  return i64_key(magnitude);
}
// Columns of the batch: regions of `arena`, found by word offsets from the parameters.

// An offset that stands for "there is no such region".
const ABSENT: u32 = 0xFFFFFFFFu;

// Bit `row` of a bitmap whose first bit is bit `first` of its first word; an absent bitmap is all ones.
fn bit_at(at: u32, first: u32, row: u32) -> bool {
  if (at == ABSENT) { return true; }
  let bit = first + row;
  return ((arena[at + (bit >> 5u)] >> (bit & 31u)) & 1u) == 1u;
}

fn word_at(at: u32, row: u32) -> u32 {
  return arena[at + row];
}

fn pair_at(at: u32, row: u32) -> vec2<u32> {
  let i = at + 2u * row;
  return vec2<u32>(arena[i], arena[i + 1u]);
}

// Entry `row` of unsigned integers packed 2^lanes to a word: 0 = 32 bits each, 1 = 16 bits, 2 = 8 bits.
fn packed_at(at: u32, lanes: u32, row: u32) -> u32 {
  let bits = 32u >> lanes;
  return extractBits(arena[at + (row >> lanes)], (row & ((1u << lanes) - 1u)) * bits, bits);
}
// HyperLogLog registers: a word each while the kernel runs, since the atomic maximum is for words.

// Raises a register to `rank`. Most calls only read: a register grows a few times at most.
fn raise_register(at: u32, rank: u32) {
  if (atomicLoad(&registers[at]) < rank) { atomicMax(&registers[at], rank); }
}

// Four registers from `at` on as the bytes of a word, which is how they are read back.
fn packed_registers(at: u32) -> u32 {
  return atomicLoad(&registers[at]) | (atomicLoad(&registers[at + 1u]) << 8u) |
    (atomicLoad(&registers[at + 2u]) << 16u) | (atomicLoad(&registers[at + 3u]) << 24u);
}

fn c0_valid(row: u32) -> bool { return bit_at(params.c0_valid_at, params.c0_valid_bit, row); }
fn c0_value(row: u32) -> vec2<u32> {
  return add64(vec2<u32>(params.c0_base_low, params.c0_base_high), vec2<u32>(word_at(params.c0_at, row), 0u));
}
fn c0_key(row: u32) -> vec2<u32> { return i64_key(c0_value(row)); }

fn c1_code(row: u32) -> u32 { return packed_at(params.c1_at, params.c1_lanes, row); }
fn c1_valid(row: u32) -> bool { return c1_code(row) != params.c1_null; }

fn c2_code(row: u32) -> u32 { return packed_at(params.c2_at, params.c2_lanes, row); }
fn c2_valid(row: u32) -> bool { return c2_code(row) != params.c2_null; }

fn c3_valid(row: u32) -> bool { return bit_at(params.c3_valid_at, params.c3_valid_bit, row); }
fn c3_value(row: u32) -> vec2<u32> { return pair_at(params.c3_at, row); }
fn c3_key(row: u32) -> vec2<u32> { return f64_key(c3_value(row)); }

fn c4_code(row: u32) -> u32 { return packed_at(params.c4_at, params.c4_lanes, row); }
fn c4_valid(row: u32) -> bool { return c4_code(row) != params.c4_null; }

fn c5_code(row: u32) -> u32 { return packed_at(params.c5_at, params.c5_lanes, row); }
fn c5_valid(row: u32) -> bool { return c5_code(row) != params.c5_null; }

// Whether the row takes part.
fn passes(row: u32) -> bool {
  return packed_at(params.table0_at, 2u, c2_code(row)) == 1u;
}

fn has_pane(row: u32) -> bool { return c0_valid(row); }
fn pane_of(row: u32) -> u32 { return word_at(params.c0_at, row) / params.pane_width_low; }

fn same_group(a: u32, b: u32) -> bool { return dense_slot(a) == dense_slot(b); }

// Kept in registers while an invocation walks its rows, so that hot words of the header see one atomic an invocation.
struct Tally {
  passed: u32,
  max_row: u32, // plus one; 0 = none
}

// Of the row `best - 1`, if best is not 0, and `row`: the one with the greater time, plus one.
fn later_row(best: u32, row: u32) -> u32 {
  if (!c0_valid(row)) { return best; }
  if (best != 0u && !less64(c0_key(best - 1u), c0_key(row))) { return best; }
  return row + 1u;
}

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
// A 32-bit mix for hash tables. It never leaves the device, so any good mix would do.

fn hash_step(h: u32, word: u32) -> u32 {
  var x = (h ^ word) * 0x9E3779B1u;
  x ^= x >> 15u;
  return x * 0x85EBCA77u;
}

fn hash_end(h: u32) -> u32 {
  var x = h ^ (h >> 15u);
  x *= 0x2C1B3C6Du;
  x ^= x >> 12u;
  x *= 0x297A2D39u;
  return x ^ (x >> 15u);
}

fn dense_slot(row: u32) -> u32 {
  var slot = pane_of(row) * params.pane_step;
  slot += c1_code(row) * params.key0_step;
  return slot;
}

// Adds the row to its group's accumulators.
fn acc_update(slot: u32, row: u32) {
  let at = slot * WIDTH;
  if (atomicLoad(&acc[at]) < ~row) { atomicMax(&acc[at], ~row); }
  atomicAdd(&acc[at + 1u], 1u);
  if (packed_at(params.table2_at, 2u, c2_code(row)) == 1u) { atomicAdd(&acc[at + 2u], 1u); }
  { let entry = word_at(params.hll_table0_at, c4_code(row)); raise_register(slot * REGISTERS + 0u + (entry >> 8u), entry & 0xFFu); }
}

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
