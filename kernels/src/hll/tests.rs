//! Hashes and estimates against values that Spark 4.1 printed.

use super::*;

fn estimate_of(hashes: impl Iterator<Item = u64>, precision: u8) -> i64 {
    let mut registers = vec![0u8; 1 << precision];
    for word in hashes.map(|hash| pack(hash, precision)) {
        let register = &mut registers[(word >> 8) as usize];
        *register = (word as u8).max(*register);
    }
    estimate(&registers, precision)
}

#[test]
fn hashes_are_sparks() {
    assert_eq!(hash_bytes(b"a") as i64, -8582455328737087284);
    assert_eq!(hash_i64(1) as i64, -7001672635703045582);
    assert_eq!(hash_i32(1) as i64, -6698625589789238999);
    for value in [0, 1, -1, i64::MIN, i64::MAX, 0x0123_4567_89ab_cdef] {
        assert_eq!(hash_i64(value), hash_bytes(&value.to_le_bytes()));
        assert_eq!(hash_i32(value as i32), hash_bytes(&(value as i32).to_le_bytes()));
    }
}

#[test]
fn precisions_are_sparks() {
    assert_eq!(precision(0.05), Some(9));
    assert_eq!(precision(0.01), Some(14));
    assert_eq!(precision(0.39), Some(4));
    assert_eq!(precision(0.391), None);
    assert_eq!(precision(0.0022), Some(18));
    assert_eq!(precision(0.002), None, "19");
    for rsd in [0.0, -0.1, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
        assert_eq!(precision(rsd), None, "{rsd}");
    }
}

#[test]
fn estimates_are_sparks() {
    let golden: [(i64, [i64; 4]); 9] = [
        (1, [1, 1, 1, 1]),
        (10, [10, 10, 10, 10]),
        (50, [52, 49, 53, 50]),
        (100, [103, 104, 99, 100]),
        (200, [195, 202, 208, 199]),
        (500, [484, 492, 516, 500]),
        (1000, [1026, 1034, 1073, 996]),
        (5000, [4671, 4632, 5177, 4957]),
        (10000, [9571, 9093, 10399, 9965]),
    ];
    for (n, expected) in golden {
        let fine = precision(0.01).unwrap();
        let found = [
            estimate_of((0..n).map(hash_i64), 9),
            estimate_of((0..n).map(|id| hash_bytes(id.to_string().as_bytes())), 9),
            estimate_of((0..n).map(|id| hash_bytes(format!("d{id}").as_bytes())), 9),
            estimate_of((0..n).map(hash_i64), fine),
        ];
        assert_eq!(found, expected, "{n} values");
    }
}

#[test]
fn every_precision_estimates_within_five_deviations() {
    for precision in MIN_PRECISION..=MAX_PRECISION {
        let deviation = 1.04 / f64::from(1u32 << precision).sqrt();
        for n in [20i64, 1 << precision, 3 << precision] {
            let error = estimate_of((0..n).map(hash_i64), precision) as f64 / n as f64 - 1.0;
            assert!(error.abs() < 5.0 * deviation, "precision {precision}, {n} values: {error}");
        }
    }
    assert_eq!(estimate(&[], 9), 0);
    assert_eq!(estimate(&[255; 16], 0), estimate(&[63; 16], 4));
}

#[test]
fn ranks_end_below_the_register_bits() {
    assert_eq!(pack(0, 9), 56, "register 0, 55 zeros");
    assert_eq!(pack(u64::MAX, 9), 511 << 8 | 1);
    assert_eq!(pack(1, 18), 46, "the last bit of the hash itself ends the run");
    assert_eq!(pack(1, 4), 60);
}

#[test]
fn merging_is_the_maximum() {
    let mut registers = [0, 3, 5];
    merge(&mut registers, &[1, 2, 9]);
    assert_eq!(registers, [1, 3, 9]);
}

#[test]
fn tables_are_whole() {
    for (estimates, biases) in RAW_ESTIMATES.iter().zip(BIASES) {
        assert_eq!(estimates.len(), biases.len());
        assert!(estimates.len() > 78);
    }
}
