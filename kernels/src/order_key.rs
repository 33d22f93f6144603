//! Doubles as integers in Spark's order.
//!
//! Comes in: any double. Goes out: an `i64` that compares as Spark compares doubles (-0.0 = 0.0, NaN = NaN, NaN greater
//! than everything), and back. Nothing fails. Shaders and twins compare keys only, never floats.

/// The key of the one NaN, the greatest key of all doubles.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// A key that orders doubles as Spark does: all NaNs are one value above +infinity, -0.0 is 0.0 (whose key is 0).
///
/// ```
/// use tidemill_kernels::order_key;
/// assert!(order_key(-1.0) < order_key(-0.0));
/// assert_eq!(order_key(-0.0), order_key(0.0));
/// assert!(order_key(f64::INFINITY) < order_key(-f64::NAN));
/// ```
#[inline]
pub fn order_key(value: f64) -> i64 {
    let bits = if value.is_nan() { NAN_BITS } else { value.to_bits() };
    // Negative doubles descend as their magnitude grows: mirror them. Two's complement negation of the magnitude
    // instead of its complement makes -0.0 fall on 0.
    let magnitude = (bits & !(1 << 63)) as i64;
    if bits >> 63 == 1 { -magnitude } else { magnitude }
}

/// The double whose [`order_key`] is `key`. Keys that no double has (beyond NaN's) give NaN.
///
/// ```
/// use tidemill_kernels::{from_order_key, order_key};
/// assert_eq!(from_order_key(order_key(-2.5)), -2.5);
/// ```
#[inline]
pub fn from_order_key(key: i64) -> f64 {
    let value = f64::from_bits(key.unsigned_abs() & !(1 << 63));
    if value.is_nan() || key == i64::MIN {
        f64::NAN
    } else if key < 0 {
        -value
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_with_sparks_order() {
        let ascending = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -1.0,
            -f64::MIN_POSITIVE,
            -5e-324,
            0.0,
            5e-324,
            f64::MIN_POSITIVE,
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        for pair in ascending.windows(2) {
            assert!(order_key(pair[0]) < order_key(pair[1]), "{pair:?}");
        }
        for value in ascending {
            let back = from_order_key(order_key(value));
            assert!(back == value || (back.is_nan() && value.is_nan()), "{value} came back as {back}");
        }
    }

    #[test]
    fn nan_and_zero_have_one_key() {
        assert_eq!(order_key(-0.0), 0);
        assert_eq!(from_order_key(order_key(-0.0)).to_bits(), 0);
        assert_eq!(order_key(f64::from_bits(0xffff_ffff_ffff_ffff)), NAN_BITS as i64);
        assert_eq!(order_key(f64::from_bits(0x7ff0_0000_0000_0001)), NAN_BITS as i64);
        assert!(from_order_key(i64::MIN).is_nan());
        assert!(from_order_key(i64::MAX).is_nan());
    }
}
