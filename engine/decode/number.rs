//! Numbers as text: exact doubles, integers and decimals.
//!
//! Comes in: the bytes of a JSON number, or of a decimal text. Goes out: the nearest double (a division where that is exact,
//! the standard library otherwise), an integer, or a decimal's unscaled value. What does not fit its type gives None.

/// A number as the scan saw it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    /// Its text.
    pub(super) raw: &'a [u8],
    /// All digits as one integer; meaningful up to 19 digits.
    pub(super) mantissa: u64,
    /// Digits in all.
    pub(super) digits: usize,
    /// Digits after the point.
    pub(super) fraction: usize,
    /// Neither point nor exponent: what an integer column takes.
    pub(super) integer: bool,
    /// An exponent follows the digits, or the text is `NaN` or an infinity.
    pub(super) scientific: bool,
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

impl Number<'_> {
    fn text(&self) -> &str {
        std::str::from_utf8(self.raw).unwrap_or_default()
    }

    fn negative(&self) -> bool {
        self.raw.first() == Some(&b'-')
    }

    /// The nearest double.
    #[inline]
    pub(super) fn double(&self) -> Option<f64> {
        // Up to 15 digits and ten to the 22nd are exact doubles, so one division rounds once.
        if self.digits <= 15 && !self.scientific {
            let value = self.mantissa as f64 / POWERS[self.fraction];
            return Some(if self.negative() { -value } else { value });
        }
        self.text().parse().ok()
    }

    /// The nearest float, which is not always the double's nearest float.
    pub(super) fn float(&self) -> Option<f32> {
        self.text().parse().ok()
    }

    /// The integer, when it is one and fits.
    #[inline]
    pub(super) fn long(&self) -> Option<i64> {
        if !self.integer {
            return None;
        }
        if self.digits <= 18 {
            let value = self.mantissa as i64;
            return Some(if self.negative() { -value } else { value });
        }
        self.text().parse().ok()
    }
}

/// The unscaled value of a decimal text at a precision and scale, rounded half up; None when it is no number or too large.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The digits before this position make the unscaled value.
    let point = (whole.len() as i64).checked_add(exponent)?.checked_add(i64::from(scale))?;
    let mut value: i128 = 0;
    let mut count = 0i64;
    let mut round_up = false;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => return None,
        };
        if count < point {
            value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        } else if count == point {
            round_up = digit >= 5;
        }
        count += 1;
    }
    if value != 0 {
        let zeros = u32::try_from(point.saturating_sub(count).max(0)).ok()?;
        value = value.checked_mul(10i128.checked_pow(zeros)?)?;
    }
    value += i128::from(round_up);
    (value < 10i128.checked_pow(u32::from(precision))?).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_up_and_refuse_what_does_not_fit() {
        for (text, expected) in [
            ("1.5", Some(150)),
            ("-1.005", Some(-101)),
            ("1.004", Some(100)),
            ("1e2", Some(10_000)),
            ("1.25E-1", Some(13)),
            ("123.45", Some(12_345)),
            ("999.995", None),
            ("1000", None),
            ("0.001", Some(0)),
            ("0e999999999999", Some(0)),
            ("1e999999999999", None),
            ("1e-999999999999", Some(0)),
            (".5", Some(50)),
            ("+7", Some(700)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("abc", None),
        ] {
            assert_eq!(decimal(text, 5, 2), expected, "{text}");
        }
    }
}
