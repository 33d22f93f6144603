//! Event times to panes.
//!
//! Comes in: the selected rows, all with a time. Goes out: for each row the ordinal of its pane, panes being numbered as
//! they appear, and the start of each pane. Fails only on a batch without the time column.
//!
//! A block's times are rebased on the start of its first pane, so that its panes are a division of small unsigned numbers:
//! none at all when the block lies in one pane, a multiplication by the reciprocal when the distance, without the factors
//! of two of the width, fits 32 bits. Far timestamps take the same steps in 64 bits, and those whose pane starts before
//! the least `i64` in 128; that pane's start is given as the least `i64`, which no other pane has.

use hashbrown::HashMap;

use super::EMPTY;
use super::column::{Integers, integers};
use crate::error::KernelError;
use crate::program::{Batch, Pane};

/// Panes of a block that are looked up in an array; a block of more rows than this in more panes gains nothing by it.
const LOCAL_PANES: u64 = 4096;

/// The panes of one batch.
pub(super) struct Panes<'a> {
    pub times: Integers<'a>,
    pane: Pane,
    /// `width` is `odd << twos`.
    twos: u32,
    odd: u64,
    /// Start of each pane, in order of appearance.
    pub starts: Vec<i64>,
    ordinals: HashMap<i64, u32>,
    /// The pane looked up last: times come nearly sorted.
    last: Option<(i64, u32)>,
    /// Ordinals of the block's panes by distance from the first.
    local: Vec<u32>,
}

impl<'a> Panes<'a> {
    pub fn new(pane: Pane, batch: &Batch<'a>) -> Result<Self, KernelError> {
        let twos = pane.width.trailing_zeros();
        Ok(Self {
            times: integers(batch, pane.time)?,
            pane,
            twos,
            odd: pane.width as u64 >> twos,
            starts: Vec::new(),
            ordinals: HashMap::default(),
            last: None,
            local: Vec::new(),
        })
    }

    /// Writes the ordinal of each row's pane. No row's time is NULL.
    pub fn assign(&mut self, rows: &[u32], ordinals: &mut Vec<u32>) {
        ordinals.clear();
        let times = self.times.values;
        let (least, greatest) = rows.iter().fold((i64::MAX, i64::MIN), |(least, greatest), &row| {
            let time = times[row as usize];
            (least.min(time), greatest.max(time))
        });
        if rows.is_empty() {
            return;
        }
        let Ok(base) = i64::try_from(self.start(least)) else {
            ordinals.extend(rows.iter().map(|&row| {
                let start = self.start(times[row as usize]);
                self.intern(i64::try_from(start).unwrap_or(i64::MIN))
            }));
            return;
        };
        let distance = |row: u32| times[row as usize].wrapping_sub(base) as u64;
        let (width, twos, odd) = (self.pane.width as u64, self.twos, self.odd);
        let furthest = greatest.wrapping_sub(base) as u64;
        let start_of = |pane: u64| base.wrapping_add((pane * width) as i64);
        if furthest < width {
            let ordinal = self.intern(base);
            ordinals.resize(rows.len(), ordinal);
        } else if odd == 1 {
            self.assign_by(rows, |row| distance(row) >> twos, furthest / width, start_of, ordinals);
        } else if furthest >> twos <= u64::from(u32::MAX) && odd <= u64::from(u32::MAX) {
            // The rounded-up reciprocal is exact for 32-bit operands, and an odd divisor above 1 never divides 2^64.
            let reciprocal = u64::MAX / odd + 1;
            let pane = |row| ((u128::from(distance(row) >> twos) * u128::from(reciprocal)) >> 64) as u64;
            self.assign_by(rows, pane, furthest / width, start_of, ordinals);
        } else {
            self.assign_by(rows, |row| distance(row) / width, furthest / width, start_of, ordinals);
        }
    }

    /// Assigns rows whose pane, counted from the block's first one, is `pane(row)`, at most `last`.
    fn assign_by(
        &mut self,
        rows: &[u32],
        pane: impl Fn(u32) -> u64,
        last: u64,
        start_of: impl Fn(u64) -> i64,
        ordinals: &mut Vec<u32>,
    ) {
        if last >= LOCAL_PANES {
            ordinals.extend(rows.iter().map(|&row| self.intern(start_of(pane(row)))));
            return;
        }
        let mut local = std::mem::take(&mut self.local);
        local.clear();
        local.resize(last as usize + 1, EMPTY);
        let slots = local.as_mut_slice();
        ordinals.extend(rows.iter().map(|&row| {
            let pane = pane(row);
            let ordinal = &mut slots[pane as usize];
            if *ordinal == EMPTY {
                *ordinal = self.intern(start_of(pane));
            }
            *ordinal
        }));
        self.local = local;
    }

    /// Start of the pane that `time` is in.
    fn start(&self, time: i64) -> i128 {
        let (origin, width) = (i128::from(self.pane.origin), i128::from(self.pane.width));
        let time = i128::from(time);
        time - (time - origin).rem_euclid(width)
    }

    fn intern(&mut self, start: i64) -> u32 {
        if let Some((last, ordinal)) = self.last
            && last == start
        {
            return ordinal;
        }
        let next = self.starts.len() as u32;
        let ordinal = *self.ordinals.entry(start).or_insert(next);
        if ordinal == next {
            self.starts.push(start);
        }
        self.last = Some((start, ordinal));
        ordinal
    }
}
