// Adding the accumulators of a workgroup, `lacc`, to the global ones, `acc`.

// A whole two's complement integer onto another; the carry out of the last limb is the modulus and vanishes.
fn flush_limbs(to: u32, part: u32, limbs: u32) {
  var carry = 0u;
  for (var i = 0u; i < limbs; i++) {
    let word = atomicLoad(&lacc[part + i]) + carry;
    let wrapped = select(0u, 1u, word < carry);
    let old = atomicAdd(&acc[to + i], word);
    carry = wrapped + select(0u, 1u, old + word < old);
  }
}
