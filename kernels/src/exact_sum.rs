//! Exact sums of doubles: the same bits whatever the order, the split into batches and the device.
//!
//! Comes in: doubles, partial sums, or the two's complement integers that kernels accumulate. Goes out: [`ExactSum`],
//! which merges, rounds once at the very end ([`ExactSum::value`], [`ExactSum::mean`]) and has one canonical encoding.
//! Only decoding can fail, with [`KernelError::InvalidExactSum`].
//!
//! A finite double is an integer of at most 53 bits times a power of two, so a sum of doubles is an integer times a
//! power of two. While the span of the exponents allows, that integer is an `i128`; a wider span moves it into a boxed
//! integer that reaches from the least subnormal to far more than 2^63 times the greatest double.

use crate::error::KernelError;

/// A NaN was added.
pub const NAN: u8 = 1;
/// +infinity was added.
pub const POSITIVE_INFINITY: u8 = 2;
/// -infinity was added.
pub const NEGATIVE_INFINITY: u8 = 4;

/// Power of two that biased exponent 0 stands for: a double is `mantissa * 2^(biased exponent - 1075)`, so the least
/// bit of all, at biased exponent 1, weighs 2^-1074.
const EXPONENT_BIAS: i32 = 1075;
/// Words of a wide sum: 2 * 1023 + 53 bits for one double, 64 for the number of additions, a sign, and slack for merging.
const WIDE_WORDS: usize = 36;
/// Greatest number of magnitude bits above 2^-1074 that decoding accepts; what is left of the wide sum is for merging.
const MAX_BITS: usize = 2240;
/// First byte of the encoding.
const VERSION: u8 = 1;

/// A sum of doubles without rounding. `Default` is the empty sum, whose value is 0.0.
///
/// ```
/// use tidemill_kernels::ExactSum;
/// let mut sum = ExactSum::default();
/// for x in [1e100, 0.1, -1e100, 0.2] {
///     sum.add(x);
/// }
/// assert_eq!(sum.value(), 0.1 + 0.2); // 1e100 left no trace
/// ```
#[derive(Debug, Clone, Default)]
pub struct ExactSum {
    /// The integer, while `wide` is `None`.
    narrow: i128,
    /// The integer in units of 2^-1074, once an `i128` cannot hold it.
    wide: Option<Box<Wide>>,
    /// Biased exponent of `narrow`'s unit: its value is `narrow * 2^(scale - 1075)`. At least 1 unless `narrow` is 0.
    scale: u16,
    /// Which of [`NAN`], [`POSITIVE_INFINITY`] and [`NEGATIVE_INFINITY`] were added.
    flags: u8,
}

/// A two's complement integer, least significant word first.
#[derive(Debug, Clone)]
struct Wide([u64; WIDE_WORDS]);

/// What a sum is worth, in one way only.
#[derive(Debug, PartialEq, Eq)]
enum Canonical {
    Zero,
    /// An odd magnitude without leading zero words times 2^(position - 1074).
    Finite {
        negative: bool,
        position: usize,
        magnitude: Vec<u64>,
    },
    Nan,
    Infinite {
        negative: bool,
    },
}

impl ExactSum {
    /// The sum `integer * 2^(exponent_min - 1075)`, with `flags` of the infinities and NaNs that were added besides: what
    /// a window of 128 bits has accumulated. `exponent_min` is a biased exponent, at least 1 and at most 2046; others are
    /// brought into that range.
    pub fn from_window(exponent_min: i32, integer: i128, flags: u8) -> Self {
        Self { narrow: integer, wide: None, scale: exponent_min.clamp(1, 2046) as u16, flags: flags & 7 }
    }

    /// The sum that a window of 32-bit limbs has accumulated: as [`from_window`](Self::from_window), the integer being
    /// `limbs` in two's complement, least significant first.
    pub fn from_limbs(exponent_min: i32, limbs: &[u32], flags: u8) -> Self {
        let negative = limbs.last().is_some_and(|limb| limb >> 31 == 1);
        let extension = if negative { u32::MAX } else { 0 };
        let limb = |index: usize| limbs.get(index).copied().unwrap_or(extension);
        if limbs.iter().skip(4).all(|&limb| limb == extension) && (limb(3) >> 31 == 1) == negative {
            let integer = (0..4).fold(0u128, |all, index| all | u128::from(limb(index)) << (32 * index));
            return Self::from_window(exponent_min, integer as i128, flags);
        }
        let mut wide = Wide::ZERO;
        for (index, word) in wide.0.iter_mut().enumerate() {
            *word = u64::from(limb(2 * index)) | u64::from(limb(2 * index + 1)) << 32;
        }
        wide.shift_left(exponent_min.clamp(1, 2046) as usize - 1);
        Self { narrow: 0, wide: Some(Box::new(wide)), scale: 0, flags: flags & 7 }
    }

    /// Adds one double.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let bits = value.to_bits();
        let exponent = (bits >> 52) as u16 & 0x7ff;
        let fraction = (bits & ((1 << 52) - 1)) as i64;
        if exponent == 0x7ff {
            self.flags |= match (fraction != 0, bits >> 63) {
                (true, _) => NAN,
                (false, 0) => POSITIVE_INFINITY,
                (false, _) => NEGATIVE_INFINITY,
            };
            return;
        }
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let signed = if bits >> 63 == 1 { -mantissa } else { mantissa };
        self.add_integer(i128::from(signed), exponent.max(1));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.flags |= other.flags;
        match &other.wide {
            None => self.add_integer(other.narrow, other.scale),
            Some(wide) => self.widen().add(wide),
        }
    }

    /// The sum rounded to the nearest double, ties to even; 0.0 for zero, NaN if a NaN or both infinities were added.
    pub fn value(&self) -> f64 {
        self.rounded(None)
    }

    /// The sum divided by `count`, rounded once; `None` if `count` is 0.
    pub fn mean(&self, count: u64) -> Option<f64> {
        (count > 0).then(|| self.rounded(Some(count)))
    }

    /// The canonical encoding, at most 285 bytes: equal sums have equal bytes.
    ///
    /// Byte 0 is the version 1; byte 1 is 0 for zero, 1 for a positive, 2 for a negative number, 3 for NaN, 4 for
    /// +infinity and 5 for -infinity. Numbers go on with a `u16` p and an odd integer m without leading zero bytes, little
    /// endian both, the number being m * 2^(p - 1074).
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.canonical() {
            Canonical::Zero => vec![VERSION, 0],
            Canonical::Nan => vec![VERSION, 3],
            Canonical::Infinite { negative } => vec![VERSION, 4 + u8::from(negative)],
            Canonical::Finite { negative, position, magnitude } => {
                let mut bytes = vec![VERSION, 1 + u8::from(negative)];
                bytes.extend_from_slice(&(position as u16).to_le_bytes());
                bytes.extend(magnitude.iter().flat_map(|word| word.to_le_bytes()));
                while bytes.last() == Some(&0) {
                    bytes.pop();
                }
                bytes
            }
        }
    }

    /// Decodes [`to_bytes`](Self::to_bytes). Bytes that are not the canonical encoding of a sum are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KernelError> {
        let refuse = |reason| Err(KernelError::InvalidExactSum { reason });
        let (kind, body) = match bytes {
            [VERSION, kind, body @ ..] => (*kind, body),
            [_, _, ..] => return refuse("unknown version"),
            _ => return refuse("fewer than two bytes"),
        };
        let special = |flags| Self { flags, ..Self::default() };
        match (kind, body) {
            (0, []) => Ok(Self::default()),
            (3, []) => Ok(special(NAN)),
            (4, []) => Ok(special(POSITIVE_INFINITY)),
            (5, []) => Ok(special(NEGATIVE_INFINITY)),
            (0 | 3..=5, _) => refuse("bytes after a value that has none"),
            (1 | 2, [low, high, magnitude @ ..]) => {
                let position = usize::from(u16::from_le_bytes([*low, *high]));
                let (Some(first), Some(last)) = (magnitude.first(), magnitude.last()) else {
                    return refuse("a number without digits");
                };
                if first & 1 == 0 || *last == 0 {
                    return refuse("not in canonical form");
                }
                if position + 8 * magnitude.len() > MAX_BITS + 7 {
                    return refuse("greater than any sum of doubles");
                }
                Ok(Self::from_magnitude(kind == 2, position, magnitude))
            }
            (1 | 2, _) => refuse("cut short"),
            _ => refuse("unknown kind"),
        }
    }

    /// The sum of `magnitude` (little endian, odd) times 2^(position - 1074), narrow where it can be.
    fn from_magnitude(negative: bool, position: usize, magnitude: &[u8]) -> Self {
        let mut wide = Wide::ZERO;
        for (word, bytes) in wide.0.iter_mut().zip(magnitude.chunks(8)) {
            *word = bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
        }
        let small = wide.0[2..].iter().all(|&word| word == 0) && wide.0[1] >> 63 == 0;
        if small && position < 2046 {
            let integer = i128::from(wide.0[0]) | i128::from(wide.0[1]) << 64;
            return Self::from_window(position as i32 + 1, if negative { -integer } else { integer }, 0);
        }
        wide.shift_left(position);
        if negative {
            wide.negate();
        }
        Self { wide: Some(Box::new(wide)), ..Self::default() }
    }

    /// Adds `integer * 2^(scale - 1075)`.
    #[inline]
    fn add_integer(&mut self, integer: i128, scale: u16) {
        if integer == 0 {
            return;
        }
        if let Some(wide) = &mut self.wide {
            return wide.add_shifted(integer, usize::from(scale - 1));
        }
        if self.narrow == 0 {
            (self.narrow, self.scale) = (integer, scale);
            return;
        }
        let common = self.scale.min(scale);
        let aligned = shift_exactly(self.narrow, self.scale - common)
            .zip(shift_exactly(integer, scale - common))
            .and_then(|(a, b)| a.checked_add(b));
        match aligned {
            Some(sum) => (self.narrow, self.scale) = (sum, common),
            None => self.widen().add_shifted(integer, usize::from(scale - 1)),
        }
    }

    /// Moves the sum into a wide integer.
    #[cold]
    fn widen(&mut self) -> &mut Wide {
        let (narrow, scale) = (std::mem::take(&mut self.narrow), std::mem::take(&mut self.scale));
        self.wide.get_or_insert_with(|| {
            let mut wide = Wide::ZERO;
            if narrow != 0 {
                wide.add_shifted(narrow, usize::from(scale - 1));
            }
            Box::new(wide)
        })
    }

    /// NaN or an infinity, if the flags say so.
    fn special(&self) -> Option<f64> {
        match self.flags {
            0 => None,
            POSITIVE_INFINITY => Some(f64::INFINITY),
            NEGATIVE_INFINITY => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// Sign, magnitude and the magnitude's unit as a power of two.
    fn magnitude(&self) -> (bool, Magnitude, i32) {
        match &self.wide {
            None => {
                let magnitude = self.narrow.unsigned_abs();
                let words = [magnitude as u64, (magnitude >> 64) as u64];
                (self.narrow < 0, Magnitude::Narrow(words), i32::from(self.scale) - EXPONENT_BIAS)
            }
            Some(wide) => {
                let mut wide = wide.clone();
                let negative = wide.is_negative();
                if negative {
                    wide.negate();
                }
                (negative, Magnitude::Wide(wide), 1 - EXPONENT_BIAS)
            }
        }
    }

    fn rounded(&self, divisor: Option<u64>) -> f64 {
        if let Some(special) = self.special() {
            return special;
        }
        let (negative, magnitude, unit) = self.magnitude();
        let words = magnitude.words();
        let absolute = match divisor {
            None => round(words, unit, false),
            Some(divisor) => {
                // 128 more bits below make a quotient of at least 64 bits: enough to round, the remainder being sticky.
                let mut quotient = [0; WIDE_WORDS + 2];
                let quotient = &mut quotient[..words.len() + 2];
                quotient[2..].copy_from_slice(words);
                let mut remainder = 0u128;
                for word in quotient.iter_mut().rev() {
                    let dividend = remainder << 64 | u128::from(*word);
                    *word = (dividend / u128::from(divisor)) as u64;
                    remainder = dividend % u128::from(divisor);
                }
                round(quotient, unit - 128, remainder != 0)
            }
        };
        if negative { -absolute } else { absolute }
    }

    fn canonical(&self) -> Canonical {
        match self.special() {
            Some(special) if special.is_nan() => return Canonical::Nan,
            Some(special) => return Canonical::Infinite { negative: special < 0.0 },
            None => {}
        }
        let (negative, magnitude, unit) = self.magnitude();
        let words = magnitude.words();
        let Some(first) = words.iter().position(|&word| word != 0) else {
            return Canonical::Zero;
        };
        let shift = words[first].trailing_zeros() as usize;
        let position = (unit - (1 - EXPONENT_BIAS)) as usize + 64 * first + shift;
        let mut magnitude: Vec<u64> = (first..words.len()).map(|index| window(words, 64 * index + shift)).collect();
        while magnitude.last() == Some(&0) {
            magnitude.pop();
        }
        Canonical::Finite { negative, position, magnitude }
    }
}

/// Sums are equal when they are worth the same, however they came about; NaN equals NaN here.
impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for ExactSum {}

/// The words of an absolute value.
enum Magnitude {
    Narrow([u64; 2]),
    Wide(Box<Wide>),
}

impl Magnitude {
    fn words(&self) -> &[u64] {
        match self {
            Self::Narrow(words) => words,
            Self::Wide(wide) => &wide.0,
        }
    }
}

impl Wide {
    const ZERO: Self = Self([0; WIDE_WORDS]);

    fn is_negative(&self) -> bool {
        self.0[WIDE_WORDS - 1] >> 63 == 1
    }

    fn negate(&mut self) {
        let mut carry = true;
        for word in &mut self.0 {
            (*word, carry) = (!*word).overflowing_add(u64::from(carry));
        }
    }

    fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (word, &addend) in self.0.iter_mut().zip(&other.0) {
            (*word, carry) = add_with_carry(*word, addend, carry);
        }
    }

    /// Adds `integer * 2^shift`.
    fn add_shifted(&mut self, integer: i128, shift: usize) {
        let (first, bits) = (shift / 64, (shift % 64) as u32);
        let low = (integer as u128) << bits;
        // The bits above 128 with their sign: an arithmetic shift by 128 - bits, in two steps that are each below 128.
        let high = (integer >> 64 >> (64 - bits)) as u64;
        let extension = if integer < 0 { u64::MAX } else { 0 };
        let addends = [low as u64, (low >> 64) as u64, high].into_iter().chain(std::iter::repeat(extension));
        let mut carry = false;
        for (word, addend) in self.0.iter_mut().skip(first).zip(addends) {
            (*word, carry) = add_with_carry(*word, addend, carry);
        }
    }

    fn shift_left(&mut self, shift: usize) {
        let (words, bits) = (shift / 64, shift % 64);
        for index in (0..WIDE_WORDS).rev() {
            let word = |below: usize| index.checked_sub(words + below).map_or(0, |from| self.0[from]);
            let carried = if bits == 0 { 0 } else { word(1) >> (64 - bits) };
            self.0[index] = word(0) << bits | carried;
        }
    }
}

#[inline]
fn add_with_carry(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// `integer << shift` if no bit of it is lost.
#[inline]
fn shift_exactly(integer: i128, shift: u16) -> Option<i128> {
    let shift = u32::from(shift);
    let sign_bits = (integer ^ integer >> 127).leading_zeros();
    (shift < sign_bits).then(|| integer << shift)
}

/// 64 bits of `words` from bit `from` on; zeros past the end.
fn window(words: &[u64], from: usize) -> u64 {
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    let (index, bits) = (from / 64, from % 64);
    let above = if bits == 0 { 0 } else { word(index + 1) << (64 - bits) };
    word(index) >> bits | above
}

/// `words * 2^unit` to the nearest double, ties to even; `sticky` says that there is more below the last bit, which needs
/// at least 54 bits in `words`.
fn round(words: &[u64], unit: i32, sticky: bool) -> f64 {
    let Some(top) = words.iter().rposition(|&word| word != 0) else {
        return 0.0;
    };
    let bits = 64 * (top + 1) - words[top].leading_zeros() as usize;
    let exponent = unit + bits as i32 - 1;
    if exponent > 1023 {
        return f64::INFINITY;
    }
    // The weight of the result's last bit: subnormals share one.
    let last = (exponent - 52).max(-1074);
    let kept = if last <= unit {
        words[0] << (unit - last)
    } else {
        let dropped = (last - unit) as usize;
        let kept = if dropped >= bits { 0 } else { window(words, dropped) };
        let half = window(words, dropped - 1) & 1 == 1;
        let below = sticky
            || (0..dropped - 1).step_by(64).any(|from| {
                let width = (dropped - 1 - from).min(64);
                window(words, from) << (64 - width) != 0
            });
        kept + u64::from(half && (below || kept & 1 == 1))
    };
    // A carry out of the mantissa raises the exponent field, up to infinity's, which is what rounding asks for.
    f64::from_bits((((last + 1074) as u64) << 52) + kept)
}

#[cfg(test)]
mod tests;
