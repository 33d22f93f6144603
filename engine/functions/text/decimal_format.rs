//! Java's `DecimalFormat`: patterns such as `#,##0.00`, `0.0%` and `0.###E0`.
//!
//! Comes in: a pattern, and numbers. Goes out: texts, rounded half to even. Fails: patterns that are none.

use crate::error::{Error, ErrorCode, Result};

/// What stands before and behind a number.
#[derive(Debug, Clone, Default, PartialEq)]
struct Affixes {
    prefix: String,
    suffix: String,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct DecimalFormat {
    positive: Affixes,
    negative: Affixes,
    /// Powers of ten that the number is multiplied by: 2 for percent, 3 for per mille.
    shift: u32,
    /// Digits between separators; 0 for none.
    group: usize,
    least_whole: usize,
    most_whole: usize,
    least_fraction: usize,
    most_fraction: usize,
    /// Least digits of an exponent, where there is one.
    exponent: Option<usize>,
    /// Whether a point is written without a fraction.
    point: bool,
}

/// A number to write.
pub(super) enum Number {
    /// A double, rounded by its exact value.
    Double(f64),
    /// Digits with a point, and a minus.
    Exact(String),
}

/// Java's pattern for an empty one.
const DEFAULT: &str = "#,###,###,###,###,###,##0";

/// The counts of one part of a pattern.
#[derive(Default)]
struct Counts {
    left: usize,
    zeros: usize,
    right: usize,
    group: Option<usize>,
    point: Option<usize>,
    exponent: Option<usize>,
}

impl DecimalFormat {
    /// # Errors
    /// `InvalidParameterValue`.
    pub(super) fn new(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorCode::InvalidParameterValue,
                format!("format_number: {text:?} is no pattern of a number: {why}; write for example '#,##0.00'"),
            ))
        };
        let text = if text.is_empty() { DEFAULT } else { text };
        let letters: Vec<char> = text.chars().collect();
        let (mut at, mut shift, mut counts, mut affixes) = (0, 0, Counts::default(), Vec::<Affixes>::new());
        // Digits of the second part are passed over: only its affixes count.
        for part in 0..2 {
            let mut own = Affixes::default();
            let (mut phase, mut quoted, mut digits) = (0, false, 0usize);
            let mut own_shift = 0;
            while let Some(letter) = letters.get(at).copied() {
                if phase == 1 {
                    let next = match letter {
                        '#' | '0' | ',' | '.' => {
                            digits += 1;
                            at += 1;
                            if part == 1 {
                                continue;
                            }
                            letter
                        }
                        'E' => {
                            at += 1;
                            let zeros = letters.iter().skip(at).take_while(|letter| **letter == '0').count();
                            at += zeros;
                            if part == 0 {
                                if counts.exponent.is_some() || zeros == 0 || counts.left + counts.zeros == 0 {
                                    return refuse("its exponent is malformed");
                                }
                                counts.exponent = Some(zeros);
                            }
                            phase = 2;
                            continue;
                        }
                        _ => {
                            phase = 2;
                            continue;
                        }
                    };
                    match next {
                        ',' => counts.group = Some(0),
                        '.' if counts.point.is_some() => return refuse("it has more than one point"),
                        '.' => counts.point = Some(counts.left + counts.zeros + counts.right),
                        digit => {
                            match digit {
                                '#' if counts.zeros > 0 => counts.right += 1,
                                '#' => counts.left += 1,
                                _ if counts.right > 0 => return refuse("a 0 stands behind a #"),
                                _ => counts.zeros += 1,
                            }
                            if let (Some(group), None) = (&mut counts.group, counts.point) {
                                *group += 1;
                            }
                        }
                    }
                    continue;
                }
                at += 1;
                let affix = if phase == 0 { &mut own.prefix } else { &mut own.suffix };
                match letter {
                    '\'' if letters.get(at) == Some(&'\'') => {
                        affix.push('\'');
                        at += 1;
                    }
                    '\'' => quoted = !quoted,
                    other if quoted => affix.push(other),
                    '#' | '0' | ',' | '.' if phase == 0 => {
                        phase = 1;
                        at -= 1;
                    }
                    '#' | '0' | ',' | '.' => return refuse("a digit stands behind the number"),
                    ';' if phase == 0 || part == 1 => return refuse("a ; stands where no part ends"),
                    ';' => break,
                    '%' | '\u{2030}' if own_shift > 0 => return refuse("it has too many percent characters"),
                    '%' | '\u{2030}' => {
                        own_shift = if letter == '%' { 2 } else { 3 };
                        affix.push(letter);
                    }
                    '\u{a4}' => affix.push('$'),
                    other => affix.push(other),
                }
            }
            if quoted {
                return refuse("a quote is open");
            }
            if part == 0 {
                shift = own_shift;
            }
            if part == 0 || digits > 0 {
                affixes.push(own);
            }
            if at >= letters.len() {
                break;
            }
        }
        if counts.zeros == 0
            && counts.left > 0
            && let Some(point) = counts.point
        {
            // A pattern of # alone has a digit before the point.
            let whole = point.max(1);
            counts.right = counts.left - whole.min(counts.left);
            counts.left = whole - 1;
            counts.zeros = 1;
        }
        let total = counts.left + counts.zeros + counts.right;
        let misplaced = match counts.point {
            Some(point) => point < counts.left || point > counts.left + counts.zeros,
            None => counts.right > 0,
        };
        if misplaced || counts.group == Some(0) {
            return refuse("its digits are out of order");
        }
        let point = counts.point.unwrap_or(total);
        let least_whole = point - counts.left;
        let most_whole = if counts.exponent.is_some() { counts.left + least_whole } else { usize::MAX };
        let mut affixes = affixes.into_iter();
        let positive = affixes.next().unwrap_or_default();
        let minus = || Affixes { prefix: format!("-{}", positive.prefix), suffix: positive.suffix.clone() };
        let negative = affixes.next().filter(|own| *own != positive).unwrap_or_else(minus);
        Ok(Self {
            shift,
            group: counts.group.unwrap_or(0),
            least_whole,
            most_whole,
            least_fraction: if counts.point.is_some() { counts.left + counts.zeros - point } else { 0 },
            most_fraction: if counts.point.is_some() { total - point } else { 0 },
            exponent: counts.exponent,
            point: counts.point == Some(0) || counts.point == Some(total),
            positive,
            negative,
        })
    }

    /// The text of a number.
    pub(super) fn write(&self, number: &Number) -> String {
        let negative = match number {
            Number::Double(value) if value.is_nan() => return "NaN".to_string(),
            Number::Double(value) => value.is_sign_negative(),
            Number::Exact(text) => text.starts_with('-') && text.bytes().any(|digit| matches!(digit, b'1'..=b'9')),
        };
        let body = match number {
            Number::Double(value) if value.is_infinite() => "∞".to_string(),
            Number::Double(value) => {
                let value = value.abs() * 10f64.powi(self.shift as i32);
                match self.exponent {
                    Some(_) => {
                        let (digits, places) = rounded(&format!("{value:e}"), usize::MAX);
                        let significant = self.significant(digits.trim_start_matches('0').len());
                        let (digits, places) = if digits.len() > significant && significant > 0 {
                            rounded(&format!("{value:.*e}", significant - 1), usize::MAX)
                        } else {
                            (digits, places)
                        };
                        self.scientific(&digits, places)
                    }
                    None => {
                        let text = fixed(value, self.most_fraction);
                        let (digits, places) = rounded(&text, usize::MAX);
                        self.plain(&digits, places)
                    }
                }
            }
            Number::Exact(text) => {
                let (digits, places) = rounded(text.trim_start_matches('-'), usize::MAX);
                let places = places + self.shift as i64;
                match self.exponent {
                    Some(_) => {
                        let (digits, places) = cut(&digits, places, self.significant(digits.len()));
                        self.scientific(&digits, places)
                    }
                    None => {
                        let keep = places + self.most_fraction as i64;
                        let (digits, places) = match usize::try_from(keep) {
                            Ok(keep) => cut(&digits, places, keep),
                            Err(_) => (String::new(), 0),
                        };
                        self.plain(&digits, places)
                    }
                }
            }
        };
        let affixes = if negative { &self.negative } else { &self.positive };
        format!("{}{body}{}", affixes.prefix, affixes.suffix)
    }

    /// How many digits an exponential form keeps of a number that has `have`.
    fn significant(&self, have: usize) -> usize {
        match self.most_whole.saturating_add(self.most_fraction) {
            0 => have,
            most => most,
        }
    }

    /// Digits of which `places` stand before the point.
    fn plain(&self, digits: &str, places: i64) -> String {
        let places = if digits.is_empty() { 0 } else { places };
        let digit =
            |at: i64| usize::try_from(at).ok().and_then(|at| digits.as_bytes().get(at)).map_or('0', |d| char::from(*d));
        let whole = places.max(self.least_whole as i64);
        let mut out = String::new();
        for left in (1..=whole).rev() {
            out.push(digit(places - left));
            if left > 1 && self.group > 0 && (left - 1) % self.group as i64 == 0 {
                out.push(',');
            }
        }
        let have = (digits.len() as i64 - places).max(0) as usize;
        let fraction = have.max(self.least_fraction);
        if out.is_empty() && fraction == 0 {
            out.push('0');
        }
        if fraction > 0 || self.point {
            out.push('.');
        }
        out.extend((0..fraction as i64).map(|at| digit(places + at)));
        out
    }

    fn scientific(&self, digits: &str, places: i64) -> String {
        let zero = digits.is_empty();
        let (mut exponent, mut least_whole) = (if zero { 0 } else { places }, self.least_whole);
        if self.most_whole > 1 && self.most_whole > self.least_whole && self.most_whole != usize::MAX {
            // The exponent is a multiple of the digits before the point.
            let step = self.most_whole as i64;
            exponent = (exponent - 1).div_euclid(step) * step;
            least_whole = 1;
        } else if !zero {
            exponent -= least_whole as i64;
        } else {
            exponent = 0;
        }
        if zero {
            exponent = 0;
        }
        let whole = if zero { least_whole } else { (places - exponent).max(0) as usize };
        let total = digits.len().max((self.least_whole + self.least_fraction).max(whole));
        let mut out = String::new();
        for at in 0..total {
            if at == whole {
                out.push('.');
            }
            out.push(digits.as_bytes().get(at).map_or('0', |digit| char::from(*digit)));
        }
        out.push('E');
        if exponent < 0 {
            out.push('-');
        }
        let width = self.exponent.unwrap_or(1);
        out + &format!("{:0>width$}", exponent.unsigned_abs())
    }
}

/// A double with at most so many digits behind the point: those that tell it from others, or its exact value rounded half to even.
pub(super) fn fixed(value: f64, places: usize) -> String {
    let shortest = value.to_string();
    let fraction = shortest.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if fraction <= places { shortest } else { format!("{value:.places$}") }
}

/// The digits of a text such as `12.50` or `1.25e3` without zeros at the ends, at most `most`, and how many stand before the point.
fn rounded(text: &str, most: usize) -> (String, i64) {
    let (number, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let places = whole.len() as i64 - (digits.len() - significant.len()) as i64 + exponent.parse::<i64>().unwrap_or(0);
    cut(significant, places, most)
}

/// The first `keep` digits, rounded half to even.
fn cut(digits: &str, places: i64, keep: usize) -> (String, i64) {
    let trimmed = |digits: &str| digits.trim_end_matches('0').to_string();
    let (Some(kept), Some(rest)) = (digits.get(..keep), digits.get(keep..)) else { return (trimmed(digits), places) };
    let half = "5";
    let odd = kept.bytes().last().is_some_and(|digit| (digit - b'0') % 2 == 1);
    let rest = rest.trim_end_matches('0');
    let up = rest > half || (rest == half && odd);
    if !up {
        return (trimmed(kept), places);
    }
    let mut out: Vec<u8> = kept.bytes().collect();
    for digit in out.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return (trimmed(&String::from_utf8_lossy(&out)), places);
        }
        *digit = b'0';
    }
    ("1".to_string(), places + 1)
}
