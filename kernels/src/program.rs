//! The kernel IR: what one partial aggregation does, as data.
//!
//! Comes in: nothing but what the planner lowers from a query. Goes out: [`Program`], which the native twins interpret
//! ([`crate::cpu`]) and which the GPU back end composes to WGSL ([`crate::compose`]); [`Batch`], the columns of one
//! chunk; and [`Groups`], the partial aggregates of that chunk, the same bits from every device.
//!
//! ## Meaning
//! For each row: if `filter` is TRUE (not FALSE, not NULL) and, where there is a `pane`, its time is not NULL, the row
//! belongs to the group (pane of the row, value of every key column), and updates that group's aggregates. NULL is a key
//! value like any other. An aggregate with its own `filter` is updated only by rows for which that is TRUE too.
//! Groups come out in the order of their first row.

use crate::exact_sum::ExactSum;

/// Index of a column in [`Batch::columns`].
pub type ColumnId = usize;
/// Index of a table in [`Batch::tables`].
pub type TableId = usize;

/// Physical type of an input column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// 64-bit signed integers: integers, dates, timestamps in microseconds, ranks of strings.
    I64,
    /// 64-bit IEEE floats.
    F64,
    /// Dictionary codes `0..cardinality`; the code `cardinality` stands for NULL.
    Code,
    /// One of [`FALSE`], [`TRUE`], [`NULL`] a row: a predicate evaluated beforehand.
    Truth,
}

/// SQL's FALSE in truth columns and truth tables.
pub const FALSE: u8 = 0;
/// SQL's TRUE in truth columns and truth tables.
pub const TRUE: u8 = 1;
/// SQL's NULL (unknown) in truth columns and truth tables.
pub const NULL: u8 = 2;

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

/// A three-valued predicate over one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// The truth value of a `Truth` column.
    Column(ColumnId),
    /// The truth value that table `table` of the batch gives for a `Code` column: `isin`, `=`, `like` or any other
    /// function of one string, evaluated once an entry of the dictionary (NULL's entry is the last one).
    Table { column: ColumnId, table: TableId },
    /// Comparison of an `I64` or `F64` column with a constant, given as its [`order_key`](fn@crate::order_key) (an `I64`
    /// is its own key). NULL compares to NULL. Doubles compare as Spark's: -0.0 = 0.0, NaN = NaN, NaN is greatest.
    Compare { column: ColumnId, op: Compare, key: i64 },
    /// Whether the column is NULL; never NULL itself.
    IsNull(ColumnId),
    /// Kleene AND.
    And(Box<Predicate>, Box<Predicate>),
    /// Kleene OR.
    Or(Box<Predicate>, Box<Predicate>),
    /// Kleene NOT.
    Not(Box<Predicate>),
}

/// Assignment of rows to panes: consecutive intervals `[origin + k * width, origin + (k + 1) * width)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pane {
    /// An `I64` column: event time in microseconds since the epoch. Rows where it is NULL are dropped.
    pub time: ColumnId,
    /// Width in microseconds, greater than 0. A tumbling window is one pane; a sliding one is several.
    pub width: i64,
    /// Start of any one pane, in microseconds; may be negative.
    pub origin: i64,
}

/// What to compute for a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Function {
    /// Number of rows.
    CountRows,
    /// Number of rows where the column is not NULL.
    Count(ColumnId),
    /// Exact sum of an `F64` column and the number of its non-NULL values (so `avg` too).
    SumF64(ColumnId),
    /// Exact sum of an `I64` column in 128 bits and the number of its non-NULL values.
    SumI64(ColumnId),
    /// Least non-NULL value of an `I64` or `F64` column by [`order_key`](fn@crate::order_key).
    Min(ColumnId),
    /// Greatest non-NULL value of an `I64` or `F64` column by [`order_key`](fn@crate::order_key).
    Max(ColumnId),
    /// HyperLogLog++ registers. `values` is a `Code` column; word `packed` of the batch's HLL table `table` holds for each
    /// code `register << 8 | rank`, or 0 where the value does not count (NULL). `2^precision` registers a group.
    Hll { column: ColumnId, table: TableId, precision: u8 },
    /// The set of distinct non-NULL codes of a `Code` column.
    Distinct(ColumnId),
}

/// One aggregate of a program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// Rows for which this is not TRUE are passed over: `count(*) FILTER (WHERE ...)`, `sum(when(c, 1).otherwise(0))`.
    pub filter: Option<Predicate>,
}

/// A partial aggregation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// Types of the columns that every batch brings.
    pub columns: Vec<ColumnType>,
    /// Which rows take part.
    pub filter: Option<Predicate>,
    /// Event-time panes, if the grouping has a window.
    pub pane: Option<Pane>,
    /// Grouping columns: `I64` or `Code`. Doubles and booleans come as `I64` or `Code`, canonicalised.
    pub keys: Vec<ColumnId>,
    /// Aggregates, in output order.
    pub aggregates: Vec<Aggregate>,
    /// An `I64` column whose greatest value over the rows that pass `filter` is wanted: the watermark's maximum.
    pub max_of: Option<ColumnId>,
}

/// One column of a batch. Buffers are as long as the batch.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// Integers; `valid` is an Arrow validity bitmap (bit set = value), starting at bit `offset` of the slice.
    I64 { values: &'a [i64], valid: Option<Bits<'a>> },
    /// Doubles.
    F64 { values: &'a [f64], valid: Option<Bits<'a>> },
    /// Dictionary codes, each at most `cardinality` (which stands for NULL).
    Code { codes: &'a [u32], cardinality: u32 },
    /// Truth values.
    Truth(&'a [u8]),
}

/// A bitmap in Arrow's layout: bit `offset + i`, least significant bit first.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Index of row 0's bit.
    pub offset: usize,
}

impl Bits<'_> {
    /// The bit of row `row`.
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        let bit = self.offset + row;
        self.bytes[bit >> 3] >> (bit & 7) & 1 == 1
    }
}

/// The columns and look-up tables of one chunk of rows.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Number of rows, less than 2^31.
    pub rows: usize,
    /// Columns in the order of [`Program::columns`].
    pub columns: &'a [Column<'a>],
    /// Truth tables: for a `Code` column of cardinality c, c + 1 truth values.
    pub tables: &'a [&'a [u8]],
    /// HLL tables: for a `Code` column of cardinality c, c + 1 packed words.
    pub hll_tables: &'a [&'a [u32]],
}

/// Partial aggregates of one batch, ordered by each group's first row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Groups {
    /// The first row of each group: its key values are read from the batch's own columns at this row.
    pub first_row: Vec<u32>,
    /// Start of each group's pane in microseconds; empty when the program has no pane.
    pub pane_start: Vec<i64>,
    /// Rows of each group, whatever the aggregates' own filters say.
    pub rows: Vec<u64>,
    /// One entry an aggregate, in the program's order.
    pub aggregates: Vec<Partial>,
    /// Number of rows that passed the filter (with or without a time).
    pub rows_passed: u64,
    /// Greatest non-NULL value of [`Program::max_of`] over the rows that passed the filter.
    pub max: Option<i64>,
    /// How many such values there were, their sum and the least of them: for reports, and always computed on the host.
    pub watched: Watched,
}

/// The non-NULL values of [`Program::max_of`] over the rows that passed the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// Their number.
    pub count: u64,
    /// Their sum.
    pub sum: i128,
    /// The least; `i64::MAX` where there is none.
    pub min: i64,
}

impl Default for Watched {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: i64::MAX }
    }
}

impl Watched {
    /// Takes in a value.
    pub fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += i128::from(value);
        self.min = self.min.min(value);
    }
}

/// One aggregate's partial values, one entry a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Partial {
    /// Counts.
    Count(Vec<u64>),
    /// Exact sums of doubles with their numbers of values.
    SumF64 { sums: Vec<ExactSum>, counts: Vec<u64> },
    /// Exact sums of integers with their numbers of values.
    SumI64 { sums: Vec<i128>, counts: Vec<u64> },
    /// Order keys of least or greatest values; None where there was no value.
    MinMax(Vec<Option<i64>>),
    /// HLL registers, `groups << precision` bytes, group by group.
    Hll { precision: u8, registers: Vec<u8> },
    /// Distinct codes: `(group, code)` pairs, sorted.
    Distinct(Vec<(u32, u32)>),
}
