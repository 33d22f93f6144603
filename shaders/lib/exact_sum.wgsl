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
