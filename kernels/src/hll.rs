//! Spark's HyperLogLog++: the hash of typed values, the registers they update and the estimate.
//!
//! Comes in: values to hash, hashes to pack for the kernels' look-up tables, registers to estimate. Goes out: the same
//! numbers as Spark's `xxhash64` and `approx_count_distinct`. Nothing fails; a relative standard deviation that Spark
//! cannot use has no [`precision`].

mod bias;

use bias::{BIASES, RAW_ESTIMATES};

/// Least precision with bias tables.
pub const MIN_PRECISION: u8 = 4;
/// Greatest precision with bias tables.
pub const MAX_PRECISION: u8 = 18;

/// Seed of Spark's hash expressions.
const SEED: u64 = 42;
/// Neighbours from which a bias is interpolated.
const NEIGHBOURS: usize = 6;
/// Up to which estimate linear counting is the better one, from precision 4 on.
const LINEAR_COUNTING: [f64; 15] = [
    10.0, 20.0, 40.0, 80.0, 220.0, 400.0, 900.0, 1800.0, 3100.0, 6500.0, 15500.0, 20000.0, 50000.0, 120_000.0,
    350_000.0,
];

const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_5: u64 = 0x27d4_eb2f_1656_67c5;

/// The precision (log2 of the number of registers) for a relative standard deviation, as Spark chooses it: `None` where
/// it is above 0.39, not positive, or so small that the precision would pass [`MAX_PRECISION`].
pub fn precision(rsd: f64) -> Option<u8> {
    if !(rsd > 0.0 && rsd <= 0.39) {
        return None;
    }
    let bits = (2.0 * (1.106 / rsd).ln() / std::f64::consts::LN_2).ceil();
    (f64::from(MIN_PRECISION)..=f64::from(MAX_PRECISION)).contains(&bits).then_some(bits as u8)
}

/// Spark's `xxhash64` of a string or binary value.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(SEED, bytes)
}

/// Spark's `xxhash64` of a boolean (0 or 1), byte, short, integer, date, or float's bits.
#[inline]
pub fn hash_i32(value: i32) -> u64 {
    let hash = SEED.wrapping_add(PRIME_5).wrapping_add(4) ^ u64::from(value as u32).wrapping_mul(PRIME_1);
    avalanche(hash.rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3))
}

/// Spark's `xxhash64` of a long, timestamp, or double's bits.
#[inline]
pub fn hash_i64(value: i64) -> u64 {
    let lane = (value as u64).wrapping_mul(PRIME_2).rotate_left(31).wrapping_mul(PRIME_1);
    let hash = SEED.wrapping_add(PRIME_5).wrapping_add(8) ^ lane;
    avalanche(hash.rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
}

#[inline]
fn avalanche(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(PRIME_2);
    hash = (hash ^ hash >> 29).wrapping_mul(PRIME_3);
    hash ^ hash >> 32
}

/// The update that a hash stands for: `register << 8 | rank`, never 0. `precision` is in 4..=18; others are brought
/// into that range.
#[inline]
pub fn pack(hash: u64, precision: u8) -> u32 {
    let precision = u32::from(precision.clamp(MIN_PRECISION, MAX_PRECISION));
    let register = (hash >> (64 - precision)) as u32;
    let rank = (hash << precision | 1 << (precision - 1)).leading_zeros() + 1;
    register << 8 | rank
}

/// Merges registers: each becomes the greater of the two.
pub fn merge(registers: &mut [u8], other: &[u8]) {
    for (register, &other) in registers.iter_mut().zip(other) {
        *register = other.max(*register);
    }
}

/// The estimated number of distinct values, as Spark computes it from `2^precision` registers. `precision` is in
/// 4..=18; others are brought into that range, and registers that are missing count as 0.
pub fn estimate(registers: &[u8], precision: u8) -> i64 {
    let precision = precision.clamp(MIN_PRECISION, MAX_PRECISION);
    let count = 1usize << precision;
    let (mut inverse, mut empty) = (0.0, 0u32);
    for rank in registers.iter().copied().chain(std::iter::repeat(0)).take(count) {
        // 2^-rank, from the bits of the exponent.
        inverse += f64::from_bits((1023 - u64::from(rank.min(63))) << 52);
        empty += u32::from(rank == 0);
    }
    let m = count as f64;
    let alpha = match precision {
        4 => 0.673,
        5 => 0.697,
        6 => 0.709,
        _ => 0.7213 / (1.0 + 1.079 / m),
    };
    let raw = alpha * m * m / inverse;
    if empty > 0 {
        let linear = m * (m / f64::from(empty)).ln();
        if linear <= LINEAR_COUNTING[usize::from(precision - MIN_PRECISION)] || raw <= 2.5 * m {
            return linear.round() as i64;
        }
    }
    let corrected = if raw < 5.0 * m { raw - bias(raw, precision) } else { raw };
    corrected.round() as i64
}

/// The mean bias of the nearest raw estimates.
fn bias(raw: f64, precision: u8) -> f64 {
    let index = usize::from(precision - MIN_PRECISION);
    let (estimates, biases) = (RAW_ESTIMATES[index], BIASES[index]);
    let distance = |index: usize| {
        let difference = raw - estimates[index];
        difference * difference
    };
    let mut low = (insertion_point(estimates, raw) + 1).saturating_sub(NEIGHBOURS);
    let mut high = (low + NEIGHBOURS).min(estimates.len());
    while high < estimates.len() && distance(high) < distance(low) {
        low += 1;
        high += 1;
    }
    biases[low..high].iter().sum::<f64>() / (high - low) as f64
}

/// Where Java's binary search ends. The lists are not quite ascending, so the very path of the search matters.
fn insertion_point(ascending: &[f64], key: f64) -> usize {
    let (mut low, mut high) = (0, ascending.len());
    while low < high {
        // Java's bounds are inclusive: (low + high - 1) / 2 here.
        let middle = (low + high - 1) / 2;
        if ascending[middle] < key {
            low = middle + 1;
        } else if ascending[middle] > key {
            high = middle;
        } else {
            return middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
