// Partial aggregation into a hash table of groups. The host runs it when the groups cannot be counted beforehand.
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
  table0_at: u32,
  table1_at: u32,
}

const WIDTH: u32 = 7u;          // words of a slot's accumulators
const REGISTERS: u32 = 0u;      // HLL registers of a slot
const SETS: u32 = 1u;           // sets of distinct values
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
  return (packed_at(params.table0_at, 2u, c2_code(row)) == 1u && packed_at(params.table1_at, 2u, c2_code(row)) == 1u);
}

fn has_pane(row: u32) -> bool { return c0_valid(row); }
fn pane_of(row: u32) -> u32 { return word_at(params.c0_at, row) / params.pane_width_low; }

// Whether two rows belong to one group.
fn same_group(a: u32, b: u32) -> bool {
  return c4_code(a) == c4_code(b) && pane_of(a) == pane_of(b);
}

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

fn hash_group(row: u32) -> u32 {
  var h = 0u;
  h = hash_step(h, pane_of(row));
  h = hash_step(h, c4_code(row));
  return hash_end(h);
}
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

// Exact sums in the accumulators `acc`: two's complement integers of `limbs` u32 words, least significant first.
//
// Adds to one word are totally ordered, so each wrap of a word is seen by exactly one invocation, which then owes a carry
// to the next word: what is in memory plus what is owed is always the sum so far, modulo 2^(32 * limbs), and at the end of
// the dispatch nothing is owed. The host chooses `limbs` so that no sum of the batch can leave the range.
// Nothing is retried: at most `limbs` steps, whatever the other invocations do.

// acc[at ..] += value << (32 * limb), or -= if negative.
fn acc_add(at: u32, limbs: u32, limb: u32, value: vec3<u32>, negative: bool) {
  var i = at + limb;
  let end = at + limbs;
  var carry = 0u;
  for (var k = 0u; k < 3u; k++) {
    let word = value[k] + carry;
    // If this wraps, word is 0: the carry passes on and the atomic has nothing to do.
    carry = select(0u, 1u, word < carry);
    if (word != 0u && i < end) {
      if (negative) {
        let old = atomicSub(&acc[i], word);
        carry += select(0u, 1u, old < word);
      } else {
        let old = atomicAdd(&acc[i], word);
        carry += select(0u, 1u, old + word < old);
      }
    }
    i++;
  }
  while (carry != 0u && i < end) {
    if (negative) {
      let old = atomicSub(&acc[i], 1u);
      carry = select(0u, 1u, old == 0u);
    } else {
      let old = atomicAdd(&acc[i], 1u);
      carry = select(0u, 1u, old == 0xFFFFFFFFu);
    }
    i++;
  }
}

// Adds a signed 64-bit integer. Three limbs hold 2^31 of any.
fn acc_add_i64(at: u32, value: vec2<u32>) {
  let negative = (value.y >> 31u) != 0u;
  let magnitude = select(value, sub64(vec2<u32>(0u, 0u), value), negative);
  acc_add(at, 3u, 0u, vec3<u32>(magnitude, 0u), negative);
}

// Adds the double with these bits to the sum at `at`: one word of flags (1 NaN, 2 +infinity, 4 -infinity), then limbs in
// units of 2^(exponent_min - 1075), where no double of the batch has a smaller biased exponent than exponent_min.
fn acc_add_f64(at: u32, limbs: u32, exponent_min: u32, bits: vec2<u32>) {
  let negative = (bits.y >> 31u) != 0u;
  let exponent = (bits.y >> 20u) & 0x7FFu;
  var high = bits.y & 0xFFFFFu;
  if (exponent == 0x7FFu) {
    let infinity = select(2u, 4u, negative);
    atomicOr(&acc[at], select(1u, infinity, (high | bits.x) == 0u));
    return;
  }
  if (exponent != 0u) { high |= 0x100000u; }
  if ((high | bits.x) == 0u) { return; }
  let distance = max(exponent, 1u) - exponent_min;
  let shift = distance & 31u;
  var value = vec3<u32>(bits.x << shift, high << shift, 0u);
  if (shift != 0u) {
    value.y |= bits.x >> (32u - shift);
    value.z = high >> (32u - shift);
  }
  acc_add(at + 1u, limbs, distance >> 5u, value, negative);
}

// The set of distinct (group, code) pairs: a hash table in `sets` whose entries are the first row that claimed them, plus
// one, and that row's slot. The claimer alone writes the slot, and only the next dispatch reads it; comparing goes by the
// columns.

fn insert_distinct0(slot: u32, row: u32) {
  let code = c5_code(row);
  let mask = params.set_slots - 1u;
  var entry = hash_end(hash_step(hash_step(0u, slot), code)) & mask;
  for (var probe = 0u; probe < params.probes; probe++) {
    let at = 2u * (0u * params.set_slots + entry);
    var holder = atomicLoad(&sets[at]);
    while (holder == 0u) {
      let claim = atomicCompareExchangeWeak(&sets[at], 0u, row + 1u);
      if (claim.exchanged) {
        atomicStore(&sets[at + 1u], slot);
        return;
      }
      holder = claim.old_value;
    }
    if (c5_code(holder - 1u) == code && same_group(holder - 1u, row)) { return; }
    entry = (entry + 1u) & mask;
    if (probe == 8u && atomicLoad(&header.overflow) != 0u) { return; }
  }
  atomicOr(&header.overflow, 2u);
}

// Adds the row to its group's accumulators.
fn acc_update(slot: u32, row: u32) {
  let at = slot * WIDTH;
  if (atomicLoad(&acc[at]) < ~row) { atomicMax(&acc[at], ~row); }
  atomicAdd(&acc[at + 1u], 1u);
  if (c3_valid(row)) { atomicAdd(&acc[at + 2u], 1u); acc_add_f64(at + 3u, 3u, params.c3_exponent_min, c3_value(row)); }
  if (c5_valid(row)) { insert_distinct0(slot, row); }
}

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
