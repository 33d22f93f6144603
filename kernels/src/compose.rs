//! WGSL text of a program.
//!
//! Comes in: a [`Program`] and the [`Shape`] that its batch calls for. Goes out: a [`Kernel`]: one WGSL module with the
//! entry points `aggregate` and `compact`, the parameters that the host has to fill, and where each aggregate lies in a
//! slot. The module is a skeleton from `shaders/` whose `//# include` lines are replaced by library files and whose
//! `//# insert` lines are replaced by functions made here. Only structure is in the text; what differs from batch to
//! batch is a parameter, so that a query compiles a few pipelines in its life.
//! Fails with [`TooComplex`] for programs that a shader compiler could choke on.

mod functions;
mod predicate;

use crate::program::{ColumnId, Function, Program, TableId};

/// Words of workgroup memory for private accumulators: 15 KiB of the 16 KiB that any device offers.
pub const PRIVATE_WORDS: u32 = 3840;
/// Aggregates past which a program is not composed: the text would take seconds to compile.
const MAX_AGGREGATES: usize = 256;

/// A program that is left to the native twin, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TooComplex(pub String);

/// Where groups are kept while a kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// A slot for every possible group in workgroup memory.
    Private,
    /// A slot for every possible group in device memory.
    Dense,
    /// A hash table in device memory.
    Hash,
}

/// How a column lies in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The kernel does not read it.
    Unused,
    /// Integers as 32-bit distances from a base.
    Narrow,
    /// Integers as two words.
    Wide,
    /// Distances from the first pane, shifted down by the power of two in the pane's width. Serves the pane only.
    Shifted,
    /// Doubles as two words; sums of them take this many limbs.
    F64 {
        /// 32-bit words of a sum.
        limbs: u32,
    },
    /// Dictionary codes of 8, 16 or 32 bits.
    Code,
    /// Truth values of 8 bits.
    Truth,
}

/// What of a batch decides the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Where groups are kept.
    pub tier: Tier,
    /// One form a column of the program.
    pub columns: Vec<Form>,
}

/// A word of the parameter buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// Rows of the batch.
    Rows,
    /// Invocations of the aggregation.
    Stride,
    /// Invocations of the compaction.
    CompactStride,
    /// Number of the batch, never 0.
    Batch,
    /// Slots for groups.
    Slots,
    /// Steps after which a search in a hash table gives up.
    Probes,
    /// Entries of each set of distinct values.
    SetSlots,
    /// Groups that fit the output.
    OutGroups,
    /// Pairs that fit the output.
    OutPairs,
    /// Word of the output at which pairs begin.
    PairsAt,
    /// Word of the arena at which the column begins.
    ColumnAt(ColumnId),
    /// Word of the arena at which the column's validity begins; all ones if every row has a value.
    ValidAt(ColumnId),
    /// Bit of that word that belongs to row 0.
    ValidBit(ColumnId),
    /// Base of a narrow column, or start of the first pane of a wide time column: low word.
    BaseLow(ColumnId),
    /// High word.
    BaseHigh(ColumnId),
    /// Binary logarithm of the codes in a word.
    Lanes(ColumnId),
    /// The code that stands for NULL.
    NullCode(ColumnId),
    /// Least biased exponent in a column of doubles.
    ExponentMin(ColumnId),
    /// Word of the arena at which a truth table begins.
    TableAt(TableId),
    /// Word of the arena at which an HLL table begins.
    HllTableAt(TableId),
    /// Distance of two panes' slots.
    PaneStep,
    /// Distance of the slots of two codes of key column number i.
    KeyStep(usize),
    /// Bits by which a wide time is shifted before it is divided.
    PaneShift,
    /// Width of a pane after shifting: low word.
    PaneWidthLow,
    /// High word.
    PaneWidthHigh,
}

impl Param {
    /// The field of the shader's `Params`.
    fn name(self) -> String {
        match self {
            Self::Rows => "rows".into(),
            Self::Stride => "stride".into(),
            Self::CompactStride => "compact_stride".into(),
            Self::Batch => "batch".into(),
            Self::Slots => "slots".into(),
            Self::Probes => "probes".into(),
            Self::SetSlots => "set_slots".into(),
            Self::OutGroups => "out_groups".into(),
            Self::OutPairs => "out_pairs".into(),
            Self::PairsAt => "pairs_at".into(),
            Self::ColumnAt(c) => format!("c{c}_at"),
            Self::ValidAt(c) => format!("c{c}_valid_at"),
            Self::ValidBit(c) => format!("c{c}_valid_bit"),
            Self::BaseLow(c) => format!("c{c}_base_low"),
            Self::BaseHigh(c) => format!("c{c}_base_high"),
            Self::Lanes(c) => format!("c{c}_lanes"),
            Self::NullCode(c) => format!("c{c}_null"),
            Self::ExponentMin(c) => format!("c{c}_exponent_min"),
            Self::TableAt(t) => format!("table{t}_at"),
            Self::HllTableAt(t) => format!("hll_table{t}_at"),
            Self::PaneStep => "pane_step".into(),
            Self::KeyStep(i) => format!("key{i}_step"),
            Self::PaneShift => "pane_shift".into(),
            Self::PaneWidthLow => "pane_width_low".into(),
            Self::PaneWidthHigh => "pane_width_high".into(),
        }
    }
}

/// Where an aggregate lies in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the group's number of rows.
    Rows,
    /// A count in this word.
    Count {
        /// Word of the slot.
        word: u32,
    },
    /// A count, then flags, then limbs.
    SumF64 {
        /// Word of the count.
        word: u32,
        /// Number of limbs.
        limbs: u32,
    },
    /// A count, then three limbs.
    SumI64 {
        /// Word of the count.
        word: u32,
    },
    /// A row plus one, or 0.
    MinMax {
        /// Word of the row.
        word: u32,
    },
    /// Registers.
    Hll {
        /// The first of them among the slot's registers.
        first: u32,
        /// Their number is 2 to this power.
        precision: u8,
    },
    /// A set of its own.
    Distinct {
        /// Number of the set.
        set: u32,
    },
}

/// The composed module and what the host has to know about it.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// WGSL.
    pub text: String,
    /// The parameter buffer, word by word.
    pub params: Vec<Param>,
    /// One place an aggregate.
    pub places: Vec<Place>,
    /// Words of a slot's accumulators: the complement of its first row, its number of rows, then the aggregates.
    pub width: u32,
    /// HLL registers of a slot: words on the device, bytes in its output. A multiple of four.
    pub registers: u32,
    /// Number of sets of distinct values.
    pub sets: u32,
}

/// Lays a slot out: places, words of accumulators, registers, sets.
pub fn layout(program: &Program, columns: &[Form]) -> (Vec<Place>, u32, u32, u32) {
    let (mut width, mut registers, mut sets) = (2, 0, 0);
    let mut words = |count: u32| {
        let word = width;
        width += count;
        word
    };
    let places = program
        .aggregates
        .iter()
        .map(|aggregate| match aggregate.function {
            Function::CountRows if aggregate.filter.is_none() => Place::Rows,
            Function::CountRows | Function::Count(_) => Place::Count { word: words(1) },
            Function::SumF64(column) => {
                let limbs = match columns.get(column) {
                    Some(Form::F64 { limbs }) => *limbs,
                    _ => 0,
                };
                Place::SumF64 { word: words(2 + limbs), limbs }
            }
            Function::SumI64(_) => Place::SumI64 { word: words(4) },
            Function::Min(_) | Function::Max(_) => Place::MinMax { word: words(1) },
            Function::Hll { precision, .. } => {
                let first = registers;
                // A multiple of four, which is how many the output packs in a word; valid programs have 16 at least.
                registers += 1 << precision.max(2);
                Place::Hll { first, precision }
            }
            Function::Distinct(_) => {
                sets += 1;
                Place::Distinct { set: sets - 1 }
            }
        })
        .collect();
    (places, width, registers, sets)
}

/// Composes the module for `program` on batches of this `shape`.
pub fn compose(program: &Program, shape: &Shape) -> Result<Kernel, TooComplex> {
    if program.aggregates.len() > MAX_AGGREGATES {
        let count = program.aggregates.len();
        return Err(TooComplex(format!("{count} aggregates, a kernel has at most {MAX_AGGREGATES}")));
    }
    let predicates = program.filter.iter().chain(program.aggregates.iter().filter_map(|a| a.filter.as_ref()));
    for predicate in predicates {
        predicate::check(predicate)?;
    }
    let (places, width, registers, sets) = layout(program, &shape.columns);
    let mut kernel = Kernel { text: String::new(), params: params(program, shape), places, width, registers, sets };
    let skeleton = match shape.tier {
        Tier::Private => "aggregate_private.wgsl",
        Tier::Dense => "aggregate_dense.wgsl",
        Tier::Hash => "aggregate_hash.wgsl",
    };
    let mut text = String::with_capacity(32 << 10);
    expand(skeleton, &mut text, &|name| functions::insert(name, program, shape, &kernel));
    kernel.text = text;
    Ok(kernel)
}

/// The parameters that the text names, each once.
fn params(program: &Program, shape: &Shape) -> Vec<Param> {
    let mut params = vec![
        Param::Rows,
        Param::Stride,
        Param::CompactStride,
        Param::Batch,
        Param::Slots,
        Param::Probes,
        Param::SetSlots,
        Param::OutGroups,
        Param::OutPairs,
        Param::PairsAt,
    ];
    for (c, form) in shape.columns.iter().enumerate() {
        match form {
            Form::Unused => {}
            Form::Narrow => params.extend([
                Param::ColumnAt(c),
                Param::ValidAt(c),
                Param::ValidBit(c),
                Param::BaseLow(c),
                Param::BaseHigh(c),
            ]),
            Form::Wide if program.pane.is_some_and(|pane| pane.time == c) => params.extend([
                Param::ColumnAt(c),
                Param::ValidAt(c),
                Param::ValidBit(c),
                Param::BaseLow(c),
                Param::BaseHigh(c),
                Param::PaneShift,
            ]),
            Form::Wide | Form::Shifted => params.extend([Param::ColumnAt(c), Param::ValidAt(c), Param::ValidBit(c)]),
            Form::F64 { .. } => {
                params.extend([Param::ColumnAt(c), Param::ValidAt(c), Param::ValidBit(c), Param::ExponentMin(c)]);
            }
            Form::Code => params.extend([Param::ColumnAt(c), Param::Lanes(c), Param::NullCode(c)]),
            Form::Truth => params.push(Param::ColumnAt(c)),
        }
    }
    if program.pane.is_some() {
        params.extend([Param::PaneWidthLow, Param::PaneWidthHigh]);
    }
    if shape.tier != Tier::Hash {
        params.push(Param::PaneStep);
        params.extend((0..program.keys.len()).map(Param::KeyStep));
    }
    let (tables, hll_tables) = functions::tables(program);
    params.extend(tables.into_iter().map(Param::TableAt));
    params.extend(hll_tables.into_iter().map(Param::HllTableAt));
    params
}

/// Appends a shader file with its includes and inserts replaced.
fn expand(path: &str, text: &mut String, insert: &dyn Fn(&str) -> String) {
    for line in shader(path).lines() {
        if let Some(path) = line.strip_prefix("//# include ") {
            expand(path, text, insert);
        } else if let Some(name) = line.strip_prefix("//# insert ") {
            text.push_str(&insert(name));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
}

/// The shader files. Those that the skeletons do not name do not get here.
fn shader(path: &str) -> &'static str {
    match path {
        "aggregate_private.wgsl" => include_str!("../../shaders/aggregate_private.wgsl"),
        "aggregate_dense.wgsl" => include_str!("../../shaders/aggregate_dense.wgsl"),
        "aggregate_hash.wgsl" => include_str!("../../shaders/aggregate_hash.wgsl"),
        "compact.wgsl" => include_str!("../../shaders/compact.wgsl"),
        "lib/aggregate.wgsl" => include_str!("../../shaders/lib/aggregate.wgsl"),
        "lib/bindings.wgsl" => include_str!("../../shaders/lib/bindings.wgsl"),
        "lib/columns.wgsl" => include_str!("../../shaders/lib/columns.wgsl"),
        "lib/distinct.wgsl" => include_str!("../../shaders/lib/distinct.wgsl"),
        "lib/exact_sum.wgsl" => include_str!("../../shaders/lib/exact_sum.wgsl"),
        "lib/extreme.wgsl" => include_str!("../../shaders/lib/extreme.wgsl"),
        "lib/flush.wgsl" => include_str!("../../shaders/lib/flush.wgsl"),
        "lib/hash.wgsl" => include_str!("../../shaders/lib/hash.wgsl"),
        "lib/hll.wgsl" => include_str!("../../shaders/lib/hll.wgsl"),
        "lib/order_key.wgsl" => include_str!("../../shaders/lib/order_key.wgsl"),
        "lib/rowtable.wgsl" => include_str!("../../shaders/lib/rowtable.wgsl"),
        "lib/u64.wgsl" => include_str!("../../shaders/lib/u64.wgsl"),
        _ => "",
    }
}

/// A library file written for the names on the left, instantiated for those on the right: WGSL has no generics, and naga
/// takes no pointers to atomics, so code over several arrays is text that is renamed. Only whole identifiers change,
/// where `acc` also covers `acc_...`.
fn instantiate(path: &str, names: &[(&str, &str)]) -> String {
    let source = shader(path);
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        let renamed = names.iter().find_map(|(from, to)| {
            let tail = word.strip_prefix(from)?;
            (tail.is_empty() || tail.starts_with('_')).then(|| format!("{to}{tail}"))
        });
        text.push_str(renamed.as_deref().unwrap_or(word));
    }
    text.push_str(rest);
    text
}
