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
