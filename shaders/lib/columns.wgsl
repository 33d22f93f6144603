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
