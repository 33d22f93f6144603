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
