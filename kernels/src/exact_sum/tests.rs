//! Exact sums against a reference that counts bits: one signed counter for each power of two.

use super::*;
use proptest::prelude::*;

/// A sum of doubles as one counter a power of two from 2^-1074 on.
#[derive(Clone)]
struct Counters(Vec<i128>);

impl Counters {
    fn of(values: &[f64]) -> Self {
        let mut counters = Self(vec![0; 2400]);
        values.iter().for_each(|&value| counters.add(value, 1));
        counters
    }

    fn add(&mut self, value: f64, times: i128) {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as usize;
        let mantissa = bits & ((1 << 52) - 1) | if exponent == 0 { 0 } else { 1 << 52 };
        for bit in 0..53 {
            if mantissa >> bit & 1 == 1 {
                self.0[exponent.max(1) - 1 + bit] += if value < 0.0 { -times } else { times };
            }
        }
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i32 {
        let (mut carry, mut nonzero) = (0, false);
        for counter in &self.0 {
            let total = counter + carry;
            nonzero |= total & 1 != 0;
            carry = total >> 1;
        }
        if carry < 0 { -1 } else { i32::from(nonzero || carry > 0) }
    }

    /// Whether `value` is this sum divided by `count`, correctly rounded.
    fn rounds_to(&self, value: f64, count: i128) -> bool {
        if value.is_nan() {
            return false;
        }
        if self.sign() == 0 {
            return value.to_bits() == 0;
        }
        // 2 * sum - count * (value + neighbour) must not have passed the neighbour's side.
        let side = |towards: f64| {
            let mut difference = self.clone();
            difference.0.iter_mut().for_each(|counter| *counter *= 2);
            for end in [value, towards] {
                if end.is_infinite() {
                    difference.add(2f64.powi(1023).copysign(end), -2 * count);
                } else {
                    difference.add(end, -count);
                }
            }
            difference.sign()
        };
        let even = value.to_bits() & 1 == 0;
        let below = value == f64::NEG_INFINITY || matches!(side(value.next_down()), s if s > 0 || (s == 0 && even));
        let above = value == f64::INFINITY || matches!(side(value.next_up()), s if s < 0 || (s == 0 && even));
        below && above
    }
}

fn sum(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    values.iter().for_each(|&value| sum.add(value));
    sum
}

/// Finite doubles of every kind: any bits, money, neighbours of powers of two, subnormals, extremes.
fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite()),
        (-10_000_000i64..10_000_000).prop_map(|cents| cents as f64 / 100.0),
        (-1074i32..1024, any::<bool>()).prop_map(|(e, negative)| if negative { -(2f64.powi(e)) } else { 2f64.powi(e) }),
        (0u64..1 << 52).prop_map(f64::from_bits),
        prop::sample::select(vec![0.0, -0.0, f64::MAX, f64::MIN, 5e-324, -5e-324, f64::MIN_POSITIVE]),
    ]
}

#[test]
fn values_are_exact() {
    assert_eq!(sum(&[]).value().to_bits(), 0);
    assert_eq!(sum(&[-0.0]).value().to_bits(), 0);
    assert_eq!(sum(&[0.1; 10]).value(), 1.0);
    assert_eq!(sum(&[1e308, 1e308, -1e308]).value(), 1e308);
    assert_eq!(sum(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
    assert_eq!(sum(&[f64::MIN, f64::MIN]).value(), f64::NEG_INFINITY);
    assert_eq!(sum(&[f64::MAX, 5e-324, f64::MIN]).value(), 5e-324);
    assert_eq!(sum(&[1.0, 2f64.powi(-53)]).value(), 1.0, "a tie goes to the even mantissa");
    assert_eq!(sum(&[1.0, 2f64.powi(-53), 5e-324]).value(), 1.0 + f64::EPSILON, "and a trace breaks it");
    assert_eq!(sum(&[f64::MAX, 2f64.powi(970)]).value(), f64::INFINITY);
    assert_eq!(sum(&[f64::MAX, 2f64.powi(969)]).value(), f64::MAX);
}

#[test]
fn means_are_rounded_once() {
    assert_eq!(sum(&[]).mean(0), None);
    assert_eq!(sum(&[1.0]).mean(3), Some(1.0 / 3.0));
    assert_eq!(sum(&[f64::MAX, f64::MAX]).mean(2), Some(f64::MAX), "although the sum overflows");
    assert_eq!(sum(&[5e-324]).mean(2), Some(0.0));
    assert_eq!(sum(&[5e-324; 3]).mean(2), Some(1e-323), "1.5 units are a tie, and 2 is even");
    assert_eq!(sum(&[-1.0]).mean(u64::MAX), Some(-(2f64.powi(-64))));
    assert_eq!(sum(&[]).mean(7), Some(0.0));
}

#[test]
fn special_values_follow_ieee() {
    assert!(sum(&[1.0, f64::NAN]).value().is_nan());
    assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).mean(2).is_some_and(f64::is_nan));
    assert_eq!(sum(&[f64::INFINITY, f64::MIN]).value(), f64::INFINITY);
    assert_eq!(sum(&[f64::NEG_INFINITY]).mean(5), Some(f64::NEG_INFINITY));
    assert_eq!(sum(&[f64::NAN, 1.0]), sum(&[f64::NEG_INFINITY, f64::INFINITY]));
    assert_ne!(sum(&[f64::NAN]), sum(&[f64::INFINITY]));
    assert_ne!(sum(&[f64::NEG_INFINITY]), sum(&[f64::INFINITY]));
}

#[test]
fn billions_of_the_greatest_double_fit() {
    let mut total = sum(&[f64::MAX, 5e-324]);
    for _ in 0..63 {
        let same = total.clone();
        total.merge(&same);
    }
    assert_eq!(total.value(), f64::INFINITY);
    assert_eq!(total.mean(1 << 63), Some(f64::MAX));
    assert_eq!(ExactSum::from_bytes(&total.to_bytes()), Ok(total));
}

#[test]
fn the_encoding_is_what_the_documentation_says() {
    assert_eq!(sum(&[1.0, -1.0]).to_bytes(), [1, 0]);
    assert_eq!(sum(&[0.75]).to_bytes(), [1, 1, 0x30, 0x04, 3], "3 * 2^(1072 - 1074)");
    assert_eq!(sum(&[-5e-324]).to_bytes(), [1, 2, 0, 0, 1]);
    assert_eq!(sum(&[257.0, 0.0]).to_bytes(), [1, 1, 0x32, 0x04, 1, 1]);
    assert_eq!(sum(&[f64::NAN]).to_bytes(), [1, 3]);
    assert_eq!(sum(&[f64::INFINITY, 3.0]).to_bytes(), [1, 4]);
    assert_eq!(sum(&[f64::NEG_INFINITY]).to_bytes(), [1, 5]);
}

#[test]
fn other_bytes_are_refused() {
    let refused: [&[u8]; 12] = [
        &[],
        &[1],
        &[2, 0],
        &[1, 6],
        &[1, 0, 0],
        &[1, 3, 1],
        &[1, 1],
        &[1, 1, 0, 0],
        &[1, 1, 0, 0, 2],
        &[1, 1, 0, 0, 1, 0],
        &[1, 1, 0xff, 0xff, 1],
        &[[1, 1, 0, 0].as_slice(), &[1; 282]].concat(),
    ];
    for bytes in refused {
        assert!(matches!(ExactSum::from_bytes(bytes), Err(KernelError::InvalidExactSum { .. })), "{bytes:?}");
    }
}

#[test]
fn limbs_are_twos_complement_of_any_length() {
    assert_eq!(ExactSum::from_limbs(1023, &[], 0).value(), 0.0);
    assert_eq!(ExactSum::from_limbs(1023, &[0, 1 << 20], 0).value(), 1.0);
    assert_eq!(ExactSum::from_limbs(1023, &[0, 0xfff0_0000], 0).value(), -1.0);
    assert_eq!(ExactSum::from_limbs(1023, &[0, 0, 1, 0, 0, 0], 0).value(), 4096.0);
    assert_eq!(ExactSum::from_limbs(1, &[u32::MAX; 68], 0).value(), -5e-324);
    assert!(ExactSum::from_limbs(1, &[0; 3], NAN).value().is_nan());
    let mut widest = [0; 68];
    widest[64] = 1 << 25;
    assert_eq!(ExactSum::from_limbs(1, &widest, 0).value(), 2f64.powi(64 * 32 + 25 - 1074));
}

proptest! {
    #[test]
    fn any_doubles_round_as_the_reference_does(values in prop::collection::vec(finite(), 0..40)) {
        let (exact, reference) = (sum(&values), Counters::of(&values));
        prop_assert!(reference.rounds_to(exact.value(), 1), "{}", exact.value());
        for count in [1, 2, 3, 7, 1000, 1 << 40] {
            let mean = exact.mean(count).unwrap();
            prop_assert!(reference.rounds_to(mean, i128::from(count)), "mean {mean} of {count}");
        }
    }

    #[test]
    fn order_and_split_do_not_matter(values in prop::collection::vec(finite(), 0..30), cut in 0usize..30) {
        let whole = sum(&values);
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        let (head, tail) = values.split_at(cut.min(values.len()));
        let mut merged = sum(tail);
        merged.merge(&sum(head));
        for other in [sum(&reversed), merged] {
            prop_assert_eq!(&other, &whole);
            prop_assert_eq!(other.to_bytes(), whole.to_bytes());
        }
    }

    #[test]
    fn bytes_come_back(values in prop::collection::vec(finite(), 0..10), more in finite()) {
        let mut whole = sum(&values);
        let mut decoded = ExactSum::from_bytes(&whole.to_bytes()).unwrap();
        prop_assert_eq!(&decoded, &whole);
        whole.add(more);
        decoded.add(more);
        prop_assert_eq!(decoded.to_bytes(), whole.to_bytes());
    }

    #[test]
    fn any_bytes_are_decoded_canonically_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(decoded) = ExactSum::from_bytes(&bytes) {
            prop_assert_eq!(decoded.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_window_is_the_sum_of_its_rows(values in prop::collection::vec(-1e9f64..1e9, 1..20), scale in 995i32..1016) {
        // Multiples of 2^-60 below 2^30 fit every window that starts at or under 2^-60.
        let unit = 2f64.powi(scale - EXPONENT_BIAS);
        let values: Vec<f64> = values.iter().map(|value| (value / 2f64.powi(-60)).trunc() * 2f64.powi(-60)).collect();
        let integer: i128 = values.iter().map(|value| (value / unit) as i128).sum();
        let limbs: Vec<u32> = (0..5).map(|limb| (integer >> (32 * limb).min(127)) as u32).collect();
        prop_assert_eq!(ExactSum::from_window(scale, integer, 0), sum(&values));
        prop_assert_eq!(ExactSum::from_limbs(scale, &limbs, 0), sum(&values));
    }
}
