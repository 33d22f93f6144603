//! A first look at a batch: ranges, exponents, and from them the form of each column in the arena.
//!
//! Comes in: program and batch. Goes out: a [`Survey`], which says how every column is packed, where it lies, and the
//! values of all parameters that concern columns. One pass over each column that the kernel reads. Fails with
//! [`Failure::Unsuited`] when the columns pass what the device can bind, or times pass 64 bits of distance.

use super::Failure;
use crate::compose::{Form, Param};
use crate::program::{Batch, Bits, Column, ColumnId, Function, Predicate, Program};

/// Limb numbers that kernels are composed for: 3 for money-like data, 68 for any doubles at all.
const LIMB_CLASSES: [u32; 5] = [3, 4, 6, 10, 68];
/// Regions of the arena begin at multiples of this many words (64 bytes, a cache line on most devices).
const ALIGNMENT: u64 = 16;
/// The word that stands for "no such region", as in `shaders/lib/columns.wgsl`.
const ABSENT: u32 = u32::MAX;

/// Where a column lies and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    /// First word.
    pub at: u32,
    /// First word of the validity bits, or [`ABSENT`].
    pub valid_at: u32,
    /// Bit of row 0.
    pub valid_bit: u32,
    /// What is subtracted from integers.
    pub base: i64,
    /// Bits that are shifted out of distances.
    pub shift: u32,
    /// Binary logarithm of codes in a word.
    pub lanes: u32,
    /// The code of NULL.
    pub null: u32,
    /// Least biased exponent.
    pub exponent_min: u32,
}

/// What is known of a batch before it is uploaded.
#[derive(Debug)]
pub(super) struct Survey {
    /// One form a column.
    pub forms: Vec<Form>,
    /// One region a column; that of an unused one is empty.
    pub regions: Vec<Region>,
    /// First word of each truth table.
    pub tables: Vec<u32>,
    /// First word of each HLL table.
    pub hll_tables: Vec<u32>,
    /// Words of the arena.
    pub words: u64,
    /// Number of possible groups, if slots can be computed and their number fits 32 bits.
    pub dense_slots: Option<u64>,
    pane_shift: u32,
    pane_width: u64,
    pane_step: u32,
    key_steps: Vec<u32>,
}

impl Survey {
    /// The value of a parameter that concerns columns.
    pub fn param(&self, param: Param) -> u32 {
        let region = |c: ColumnId, get: fn(&Region) -> u32| self.regions.get(c).map_or(0, get);
        match param {
            Param::ColumnAt(c) => region(c, |r| r.at),
            Param::ValidAt(c) => region(c, |r| r.valid_at),
            Param::ValidBit(c) => region(c, |r| r.valid_bit),
            Param::BaseLow(c) => region(c, |r| r.base as u32),
            Param::BaseHigh(c) => region(c, |r| (r.base >> 32) as u32),
            Param::Lanes(c) => region(c, |r| r.lanes),
            Param::NullCode(c) => region(c, |r| r.null),
            Param::ExponentMin(c) => region(c, |r| r.exponent_min),
            Param::TableAt(t) => self.tables.get(t).copied().unwrap_or(0),
            Param::HllTableAt(t) => self.hll_tables.get(t).copied().unwrap_or(0),
            Param::PaneStep => self.pane_step,
            Param::KeyStep(i) => self.key_steps.get(i).copied().unwrap_or(0),
            Param::PaneShift => self.pane_shift,
            Param::PaneWidthLow => self.pane_width as u32,
            Param::PaneWidthHigh => (self.pane_width >> 32) as u32,
            // Those of the run, which the caller fills in.
            Param::Rows
            | Param::Stride
            | Param::CompactStride
            | Param::Batch
            | Param::Slots
            | Param::Probes
            | Param::SetSlots
            | Param::OutGroups
            | Param::OutPairs
            | Param::PairsAt => 0,
        }
    }
}

/// How the kernel reads a column.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    value: bool,
    pane: bool,
    sum_f64: bool,
}

/// Surveys the batch for a device that binds `max_bytes`.
pub(super) fn survey(program: &Program, batch: &Batch<'_>, max_bytes: u64) -> Result<Survey, Failure> {
    let uses = uses(program);
    let mut survey = Survey {
        forms: vec![Form::Unused; batch.columns.len()],
        regions: Vec::with_capacity(batch.columns.len()),
        tables: Vec::new(),
        hll_tables: Vec::new(),
        words: 0,
        dense_slots: None,
        pane_shift: 0,
        pane_width: 1,
        pane_step: 0,
        key_steps: Vec::new(),
    };
    let mut words = 0u64;
    let mut panes = 1u128;
    let rows = batch.rows as u64;
    for (c, column) in batch.columns.iter().enumerate() {
        let used = uses.get(c).copied().unwrap_or_default();
        let mut region =
            Region { at: 0, valid_at: ABSENT, valid_bit: 0, base: 0, shift: 0, lanes: 0, null: 0, exponent_min: 1 };
        if used.value || used.pane {
            let mut valid = None;
            let each = match *column {
                Column::I64 { values, valid: bits } => {
                    valid = bits;
                    let range = range(values, bits, batch.rows);
                    let (form, count) = integers(program, c, used, range, &mut region, &mut survey)?;
                    survey.forms[c] = form;
                    panes = count.unwrap_or(panes);
                    if form == Form::Wide { 2 * rows } else { rows }
                }
                Column::F64 { values, valid: bits } => {
                    valid = bits;
                    let (least, limbs) = if used.sum_f64 { window(values, bits, batch.rows) } else { (1, 3) };
                    region.exponent_min = least;
                    survey.forms[c] = Form::F64 { limbs };
                    2 * rows
                }
                Column::Code { cardinality, .. } => {
                    region.lanes = match cardinality {
                        0..=0xFF => 2,
                        0x100..=0xFFFF => 1,
                        _ => 0,
                    };
                    region.null = cardinality;
                    survey.forms[c] = Form::Code;
                    rows.div_ceil(1 << region.lanes)
                }
                Column::Truth(_) => {
                    survey.forms[c] = Form::Truth;
                    rows.div_ceil(4)
                }
            };
            region.at = reserve(&mut words, each, max_bytes)?;
            if let Some(bits) = valid {
                region.valid_bit = (bits.offset & 7) as u32;
                region.valid_at = reserve(&mut words, (u64::from(region.valid_bit) + rows).div_ceil(32), max_bytes)?;
            }
        }
        survey.regions.push(region);
    }
    for table in batch.tables {
        let at = reserve(&mut words, (table.len() as u64).div_ceil(4), max_bytes)?;
        survey.tables.push(at);
    }
    for table in batch.hll_tables {
        let at = reserve(&mut words, table.len() as u64, max_bytes)?;
        survey.hll_tables.push(at);
    }
    // A binding is never empty.
    survey.words = words.max(ALIGNMENT);
    survey.lay_slots(program, batch, panes);
    Ok(survey)
}

impl Survey {
    /// Steps of a computed slot, and the number of slots.
    fn lay_slots(&mut self, program: &Program, batch: &Batch<'_>, panes: u128) {
        let mut slots = 1u128;
        let mut steps = Vec::new();
        for &key in &program.keys {
            let Some(Column::Code { cardinality, .. }) = batch.columns.get(key) else { return };
            steps.push(slots as u32);
            slots *= u128::from(*cardinality) + 1;
            if slots > u128::from(u32::MAX) {
                return;
            }
        }
        let step = slots as u32;
        slots = slots.saturating_mul(panes);
        if slots <= u128::from(u32::MAX) {
            self.key_steps = steps;
            self.pane_step = step;
            self.dense_slots = Some(slots as u64);
        }
    }
}

/// Reserves words of the arena.
fn reserve(words: &mut u64, count: u64, max_bytes: u64) -> Result<u32, Failure> {
    let at = *words;
    *words = (at + count).next_multiple_of(ALIGNMENT);
    if *words > max_bytes / 4 {
        let needed = *words * 4;
        return Err(Failure::Unsuited(format!(
            "the columns take {needed} bytes or more, the device binds {max_bytes}; use fewer rows a chunk"
        )));
    }
    Ok(at as u32)
}

/// Which columns the program reads, and for what.
fn uses(program: &Program) -> Vec<Use> {
    let mut uses = vec![Use::default(); program.columns.len()];
    let mut mark = |c: ColumnId, set: fn(&mut Use)| {
        if let Some(used) = uses.get_mut(c) {
            set(used);
        }
    };
    let mut open: Vec<&Predicate> = program.filter.iter().collect();
    for &key in &program.keys {
        mark(key, |used| used.value = true);
    }
    if let Some(c) = program.max_of {
        mark(c, |used| used.value = true);
    }
    if let Some(pane) = program.pane {
        mark(pane.time, |used| used.pane = true);
    }
    for aggregate in &program.aggregates {
        open.extend(&aggregate.filter);
        match aggregate.function {
            Function::CountRows => {}
            Function::SumF64(c) => mark(c, |used| (used.value, used.sum_f64) = (true, true)),
            Function::Count(c)
            | Function::SumI64(c)
            | Function::Min(c)
            | Function::Max(c)
            | Function::Distinct(c)
            | Function::Hll { column: c, .. } => mark(c, |used| used.value = true),
        }
    }
    while let Some(predicate) = open.pop() {
        match predicate {
            Predicate::Column(c)
            | Predicate::Table { column: c, .. }
            | Predicate::Compare { column: c, .. }
            | Predicate::IsNull(c) => mark(*c, |used| used.value = true),
            Predicate::And(a, b) | Predicate::Or(a, b) => open.extend([&**a, &**b]),
            Predicate::Not(a) => open.push(a),
        }
    }
    uses
}

/// Form and base of an integer column, and the number of panes if it is the time.
fn integers(
    program: &Program,
    c: ColumnId,
    used: Use,
    range: Option<(i64, i64)>,
    region: &mut Region,
    survey: &mut Survey,
) -> Result<(Form, Option<u128>), Failure> {
    // One less than all ones, so that a pane as wide as all ones is wider than any distance.
    const NARROW: u128 = u32::MAX as u128 - 1;
    let (least, greatest) = range.unwrap_or((0, 0));
    let Some(pane) = program.pane.filter(|pane| used.pane && pane.time == c) else {
        let narrow = (i128::from(greatest) - i128::from(least)) as u128 <= NARROW;
        region.base = least;
        return Ok((if narrow { Form::Narrow } else { Form::Wide }, None));
    };
    let (width, origin) = (i128::from(pane.width.max(1)), i128::from(pane.origin));
    let start = (i128::from(least) - origin).div_euclid(width) * width + origin;
    let distance = (i128::from(greatest) - start) as u128;
    if distance > u128::from(u64::MAX) {
        return Err(Failure::Unsuited("event times are further apart than 64 bits of microseconds".into()));
    }
    // Wraps where the first pane begins before the least i64; distances are taken modulo 2^64 and come out right.
    region.base = start as i64;
    let panes = distance / width as u128 + 1;
    let shift = pane.width.max(1).trailing_zeros();
    let narrow_width = |shift: u32| (width as u128 >> shift).min(u128::from(u32::MAX)) as u64;
    let form = if distance <= NARROW {
        survey.pane_width = narrow_width(0);
        Form::Narrow
    } else if !used.value && distance >> shift <= NARROW {
        // floor(floor(d / 2^k) / m) = floor(d / (2^k m))
        region.shift = shift;
        survey.pane_width = narrow_width(shift);
        Form::Shifted
    } else {
        survey.pane_shift = shift;
        survey.pane_width = (width as u128 >> shift) as u64;
        Form::Wide
    };
    Ok((form, Some(panes)))
}

/// Least and greatest value.
fn range(values: &[i64], valid: Option<Bits<'_>>, rows: usize) -> Option<(i64, i64)> {
    let wider = |(least, greatest): (i64, i64), value: i64| (least.min(value), greatest.max(value));
    let values = values.get(..rows).unwrap_or(values);
    let nothing = (i64::MAX, i64::MIN);
    let found = match valid {
        None => values.iter().fold(nothing, |range, &value| wider(range, value)),
        Some(bits) => values
            .iter()
            .enumerate()
            .fold(nothing, |range, (row, &value)| if bits.get(row) { wider(range, value) } else { range }),
    };
    (found.0 <= found.1).then_some(found)
}

/// Least biased exponent of the column, and the limbs that hold the sum of any of its rows: a double is an integer below
/// 2^(53 + greatest - least) in units of the least exponent, and a sum of n of them needs log2(n) and a sign more.
fn window(values: &[f64], valid: Option<Bits<'_>>, rows: usize) -> (u32, u32) {
    let (mut least, mut greatest) = (u32::MAX, 0);
    for (row, value) in values.iter().enumerate().take(rows) {
        let bits = value.to_bits();
        let exponent = ((bits >> 52) as u32 & 0x7ff).max(1);
        if bits << 1 != 0 && exponent != 0x7ff && valid.is_none_or(|valid| valid.get(row)) {
            least = least.min(exponent);
            greatest = greatest.max(exponent);
        }
    }
    if greatest == 0 {
        return (1, LIMB_CLASSES[0]);
    }
    let bits = greatest - least + 53 + (rows.max(2) as u64 - 1).ilog2() + 1 + 1;
    let limbs = bits.div_ceil(32);
    (least, LIMB_CLASSES.into_iter().find(|&class| class >= limbs).unwrap_or(68))
}
