//! Exact sums of doubles and of integers, group by group.
//!
//! Comes in: selected rows with their groups. Goes out: one exact sum and one count of values a group. Nothing fails.
//!
//! Doubles are added as 128-bit integers in a window of exponents that the first block's median chooses. The window is as
//! wide as the number of rows allows without overflow (42 exponents at least, 53 for a million rows), so nearly all values
//! of nearly all columns are one shift and one addition. What falls outside, and NaN and the infinities, goes to an
//! [`ExactSum`] of the group, which takes any value.

use hashbrown::HashMap;

use super::column::{AllValid, Doubles, Integers, Validity};
use super::count::Counts;
use crate::exact_sum::ExactSum;

/// Windows tried in one batch. A column whose magnitude moves gets another; one that has none does not pay for more.
const MAX_WINDOWS: u32 = 8;

/// A range of biased exponents whose values a 128-bit integer sums exactly.
#[derive(Clone, Copy)]
struct Window {
    lowest: u32,
    /// Highest exponent less `lowest`.
    span: u32,
}

/// Sums of one aggregate over doubles.
pub(super) struct SumsF64<'a> {
    column: Doubles<'a>,
    counts: Counts<'a>,
    /// Chosen with the first value.
    window: Option<Window>,
    windows_left: u32,
    span: u32,
    /// Integers in units of the window's least bit.
    sums: Vec<i128>,
    outside: HashMap<u32, ExactSum>,
    exponents: Vec<u16>,
}

impl<'a> SumsF64<'a> {
    /// Sums of at most `rows` values in about `hint` groups.
    pub fn new(column: Doubles<'a>, rows: usize, filtered: bool, hint: usize) -> Self {
        // 126 bits and a sign hold `rows` integers of 53 + span bits.
        let rows_bits = rows.next_power_of_two().trailing_zeros();
        Self {
            counts: Counts::new(column.valid.into(), filtered, hint),
            column,
            window: None,
            windows_left: MAX_WINDOWS,
            span: 73 - rows_bits,
            sums: Vec::with_capacity(hint),
            outside: HashMap::default(),
            exponents: Vec::new(),
        }
    }

    pub fn update(&mut self, rows: &[u32], groups: &[u32], group_count: usize) {
        self.counts.update(rows, groups, group_count);
        self.sums.resize(group_count, 0);
        match self.column.valid {
            None => self.add(rows, groups, AllValid),
            Some(valid) => self.add(rows, groups, valid),
        }
    }

    fn add(&mut self, rows: &[u32], groups: &[u32], valid: impl Validity) {
        let Some(window) = self.window.or_else(|| self.choose_window(rows, valid)) else {
            return self.add_special(rows, groups, valid);
        };
        self.window = Some(window);
        // Slices of our own, so that a store into the sums does not make the compiler read their address again.
        let (values, sums) = (self.column.values, self.sums.as_mut_slice());
        let mut outside = 0;
        for (&row, &group) in rows.iter().zip(groups) {
            if !valid.is_valid(row) {
                continue;
            }
            let value = values[row as usize];
            let bits = value.to_bits();
            let biased = (bits >> 52) as u32 & 0x7ff;
            // Zeros have no exponent: they fit everywhere.
            let exponent = if bits << 1 == 0 { window.lowest } else { biased.max(1) };
            let shift = exponent.wrapping_sub(window.lowest);
            if shift > window.span {
                add_outside(&mut self.outside, group, value);
                outside += 1;
                continue;
            }
            let mantissa = ((bits & ((1 << 52) - 1)) | u64::from(biased != 0) << 52) as i64;
            let sign = bits as i64 >> 63;
            sums[group as usize] += i128::from((mantissa ^ sign) - sign) << shift;
        }
        if outside > rows.len() / 4 && self.windows_left > 0 {
            self.leave_window();
        }
    }

    /// A window around the median exponent of the rows' values, if any of them is finite and not zero.
    fn choose_window(&mut self, rows: &[u32], valid: impl Validity) -> Option<Window> {
        let values = self.column.values;
        self.exponents.clear();
        self.exponents.extend(
            rows.iter()
                .filter(|&&row| valid.is_valid(row))
                .map(|&row| values[row as usize])
                .filter(|value| value.is_finite() && *value != 0.0)
                .map(|value| (value.to_bits() >> 52) as u16 & 0x7ff),
        );
        if self.exponents.is_empty() {
            return None;
        }
        let middle = self.exponents.len() / 2;
        let (_, &mut median, _) = self.exponents.select_nth_unstable(middle);
        self.windows_left -= 1;
        let lowest = u32::from(median).saturating_sub(self.span / 2).max(1);
        // Infinity's exponent must stay outside.
        Some(Window { lowest, span: self.span.min(0x7fe - lowest) })
    }

    /// Adds rows while there is no window: zeros, NaN and infinities only.
    fn add_special(&mut self, rows: &[u32], groups: &[u32], valid: impl Validity) {
        for (&row, &group) in rows.iter().zip(groups) {
            let value = self.column.values[row as usize];
            if valid.is_valid(row) && value != 0.0 {
                add_outside(&mut self.outside, group, value);
            }
        }
    }

    /// Moves the sums out of a window that most values miss; the next block chooses another.
    #[cold]
    fn leave_window(&mut self) {
        if let Some(window) = self.window.take() {
            for (group, sum) in (0..).zip(&mut self.sums) {
                if *sum != 0 {
                    let partial = ExactSum::from_window(window.lowest as i32, *sum, 0);
                    self.outside.entry(group).or_default().merge(&partial);
                    *sum = 0;
                }
            }
        }
    }

    pub fn finish(mut self, rows: &[u64]) -> (Vec<ExactSum>, Vec<u64>) {
        self.sums.resize(rows.len(), 0);
        let lowest = self.window.map_or(1, |window| window.lowest as i32);
        let mut sums: Vec<ExactSum> = self.sums.iter().map(|&sum| ExactSum::from_window(lowest, sum, 0)).collect();
        for (group, outside) in &self.outside {
            if let Some(sum) = sums.get_mut(*group as usize) {
                sum.merge(outside);
            }
        }
        (sums, self.counts.finish(rows))
    }
}

/// Adds a value that no window takes.
#[cold]
fn add_outside(sums: &mut HashMap<u32, ExactSum>, group: u32, value: f64) {
    sums.entry(group).or_default().add(value);
}

/// Sums of one aggregate over integers.
pub(super) struct SumsI64<'a> {
    column: Integers<'a>,
    counts: Counts<'a>,
    sums: Vec<i128>,
}

impl<'a> SumsI64<'a> {
    pub fn new(column: Integers<'a>, filtered: bool, hint: usize) -> Self {
        Self { counts: Counts::new(column.valid.into(), filtered, hint), column, sums: Vec::with_capacity(hint) }
    }

    pub fn update(&mut self, rows: &[u32], groups: &[u32], group_count: usize) {
        self.counts.update(rows, groups, group_count);
        self.sums.resize(group_count, 0);
        match self.column.valid {
            None => self.add(rows, groups, AllValid),
            Some(valid) => self.add(rows, groups, valid),
        }
    }

    fn add(&mut self, rows: &[u32], groups: &[u32], valid: impl Validity) {
        let (values, sums) = (self.column.values, self.sums.as_mut_slice());
        for (&row, &group) in rows.iter().zip(groups) {
            let value = if valid.is_valid(row) { values[row as usize] } else { 0 };
            sums[group as usize] += i128::from(value);
        }
    }

    pub fn finish(mut self, rows: &[u64]) -> (Vec<i128>, Vec<u64>) {
        self.sums.resize(rows.len(), 0);
        (self.sums, self.counts.finish(rows))
    }
}
