//! Seeded random programs and batches, made to hit edges.
//!
//! Comes in: a seed. Goes out: a [`Case`]: a valid program with batches that suit it. Nothing fails.

use tidemill_kernels::{
    Aggregate, Batch, Bits, Column, ColumnType, Compare, Function, Pane, Predicate, Program, order_key,
};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A column's values.
#[derive(Debug, Clone)]
pub enum Values {
    I64(Vec<i64>, Option<(Vec<u8>, usize)>),
    F64(Vec<f64>, Option<(Vec<u8>, usize)>),
    Code(Vec<u32>, u32),
    Truth(Vec<u8>),
}

/// A batch that owns its columns.
#[derive(Debug, Clone, Default)]
pub struct Data {
    pub rows: usize,
    pub columns: Vec<Values>,
    pub tables: Vec<Vec<u8>>,
    pub hll_tables: Vec<Vec<u32>>,
}

impl Data {
    /// Calls `f` with the batch.
    pub fn with<T>(&self, f: impl FnOnce(&Batch<'_>) -> T) -> T {
        fn bits(valid: &Option<(Vec<u8>, usize)>) -> Option<Bits<'_>> {
            valid.as_ref().map(|(bytes, offset)| Bits { bytes, offset: *offset })
        }
        let columns: Vec<Column<'_>> = self
            .columns
            .iter()
            .map(|column| match column {
                Values::I64(values, valid) => Column::I64 { values, valid: bits(valid) },
                Values::F64(values, valid) => Column::F64 { values, valid: bits(valid) },
                Values::Code(codes, cardinality) => Column::Code { codes, cardinality: *cardinality },
                Values::Truth(values) => Column::Truth(values),
            })
            .collect();
        let tables: Vec<&[u8]> = self.tables.iter().map(Vec::as_slice).collect();
        let hll_tables: Vec<&[u32]> = self.hll_tables.iter().map(Vec::as_slice).collect();
        f(&Batch { rows: self.rows, columns: &columns, tables: &tables, hll_tables: &hll_tables })
    }
}

/// A program and batches for it.
pub struct Case {
    pub program: Program,
    pub batches: Vec<Data>,
}

/// The case of a seed, with batches of these sizes.
pub fn case(seed: u64, sizes: &[usize]) -> Case {
    let mut rng = Rng(seed);
    // 0 time, 1 and 2 integers, 3 and 4 doubles, 5 to 7 codes, 8 truth values.
    let columns = vec![
        ColumnType::I64,
        ColumnType::I64,
        ColumnType::I64,
        ColumnType::F64,
        ColumnType::F64,
        ColumnType::Code,
        ColumnType::Code,
        ColumnType::Code,
        ColumnType::Truth,
    ];
    let widths = [1, 7, 1000, 300_000_000, 900_000_000, 86_400_000_000, 1 << 40, (1 << 40) + 1, i64::MAX];
    let pane = (!rng.one_in(4)).then(|| Pane {
        time: 0,
        width: if rng.one_in(3) { rng.pick(&widths) } else { 300_000_000 },
        origin: rng.pick(&[0, 0, 1, -7, 1_000_000, -123_456_789_012]),
    });
    let all_codes = rng.one_in(2);
    let key_choices: &[usize] = if all_codes { &[5, 6] } else { &[1, 2, 5, 6, 7] };
    let keys = (0..rng.below(3)).map(|_| rng.pick(key_choices)).collect();
    let mut program = Program {
        columns,
        filter: (!rng.one_in(3)).then(|| predicate(&mut rng, 3)),
        pane,
        keys,
        aggregates: Vec::new(),
        max_of: (!rng.one_in(3)).then(|| rng.pick(&[0, 0, 1])),
    };
    for _ in 0..rng.below(7) {
        let function = match rng.below(9) {
            0 => Function::CountRows,
            1 => Function::Count(rng.below(9) as usize),
            2 | 3 => Function::SumF64(rng.pick(&[3, 4])),
            4 => Function::SumI64(rng.pick(&[0, 1, 2])),
            5 => Function::Min(rng.pick(&[0, 1, 2, 3, 4])),
            6 => Function::Max(rng.pick(&[0, 1, 2, 3, 4])),
            7 => Function::Hll { column: 7, table: 0, precision: 9 },
            _ => Function::Distinct(rng.pick(&[5, 6, 7])),
        };
        let filter = rng.one_in(3).then(|| predicate(&mut rng, 2));
        program.aggregates.push(Aggregate { function, filter });
    }
    let batches = sizes.iter().map(|&rows| data(&mut rng, rows)).collect();
    Case { program, batches }
}

fn predicate(rng: &mut Rng, depth: u64) -> Predicate {
    if depth > 0 && !rng.one_in(3) {
        let mut part = || Box::new(predicate(rng, depth - 1));
        let (a, b) = (part(), part());
        return match rng.below(3) {
            0 => Predicate::And(a, b),
            1 => Predicate::Or(a, b),
            _ => Predicate::Not(a),
        };
    }
    match rng.below(5) {
        0 => Predicate::Column(8),
        1 => {
            let table = rng.below(3) as usize;
            Predicate::Table { column: 5 + table, table }
        }
        2 => Predicate::IsNull(rng.below(9) as usize),
        3 => Predicate::Compare { column: rng.pick(&[0, 1, 2]), op: op(rng), key: rng.pick(&[0, 3, -1, 50, i64::MIN]) },
        _ => {
            let value = rng.pick(&[0.0, -0.0, 1.0, -12.5, f64::NAN, f64::INFINITY, 5e-324, 20.0]);
            Predicate::Compare { column: rng.pick(&[3, 4]), op: op(rng), key: order_key(value) }
        }
    }
}

fn op(rng: &mut Rng) -> Compare {
    rng.pick(&[Compare::Eq, Compare::NotEq, Compare::Lt, Compare::LtEq, Compare::Gt, Compare::GtEq])
}

/// A batch for the columns above.
fn data(rng: &mut Rng, rows: usize) -> Data {
    let cardinalities = [rng.pick(&[0, 1, 5, 20]), rng.pick(&[3, 255, 256, 1000]), rng.pick(&[7, 3000, 70_000])];
    let mut columns = vec![times(rng, rows), integers(rng, rows), integers(rng, rows)];
    columns.extend([doubles(rng, rows), doubles(rng, rows)]);
    columns.extend(cardinalities.map(|cardinality| {
        let codes = (0..rows).map(|_| rng.below(u64::from(cardinality) + 1) as u32).collect();
        Values::Code(codes, cardinality)
    }));
    columns.push(Values::Truth((0..rows).map(|_| rng.below(3) as u8).collect()));
    let tables = cardinalities.map(|c| (0..=c).map(|_| rng.below(3) as u8).collect()).to_vec();
    let mut hll: Vec<u32> =
        (0..cardinalities[2]).map(|_| (rng.below(512) << 8 | (rng.next().leading_zeros() as u64 + 1)) as u32).collect();
    hll.push(0);
    Data { rows, columns, tables, hll_tables: vec![hll] }
}

/// A validity bitmap that begins anywhere.
fn validity(rng: &mut Rng, rows: usize) -> Option<(Vec<u8>, usize)> {
    let offset = rng.below(70) as usize;
    let all_null = rng.one_in(12);
    let bytes = (0..(offset + rows).div_ceil(8)).map(|_| if all_null { 0 } else { (rng.next() | rng.next()) as u8 });
    let bytes: Vec<u8> = bytes.collect();
    (!rng.one_in(3)).then_some((bytes, offset))
}

fn times(rng: &mut Rng, rows: usize) -> Values {
    const HOUR: u64 = 3_600_000_000;
    let (base, span) = match rng.below(7) {
        0 => (1_700_000_000_000_000, HOUR),
        1 => (1_700_000_000_000_000, 20 * 60 * 1_000_000),
        2 => (-5_000_000_000, 2 * HOUR),
        3 => (1_700_000_000_000_000, 90 * 24 * HOUR),
        4 => (i64::MIN, HOUR),
        5 => (i64::MAX - HOUR as i64, HOUR),
        _ => (i64::MIN, u64::MAX),
    };
    let values = (0..rows).map(|_| base.wrapping_add_unsigned(rng.below(span))).collect();
    Values::I64(values, validity(rng, rows))
}

fn integers(rng: &mut Rng, rows: usize) -> Values {
    let kind = rng.below(5);
    let value = |rng: &mut Rng| match kind {
        0 => rng.below(4) as i64,
        1 => rng.below(50) as i64 - 25,
        2 => rng.next() as i64,
        3 => rng.pick(&[i64::MIN, i64::MAX, 0, -1, 1]),
        _ => (1 << 40) + rng.below(1 << 33) as i64 * 1000,
    };
    let values = (0..rows).map(|_| value(rng)).collect();
    Values::I64(values, validity(rng, rows))
}

fn doubles(rng: &mut Rng, rows: usize) -> Values {
    const ODD: [f64; 9] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 5e-324, -5e-324, f64::MAX, f64::MIN];
    let kind = rng.below(6);
    let value = |rng: &mut Rng| match kind {
        // Money, both signs.
        0 => (rng.below(100_000) as f64 - 20_000.0) / 100.0,
        // Cancellation over a wide, but not the whole, range.
        1 => (rng.below(2001) as f64 - 1000.0) * rng.pick(&[1e-20, 1.0, 1e10, 1e25]),
        2 => f64::from_bits(rng.next()),
        3 => rng.pick(&ODD),
        4 if rng.one_in(500) => rng.pick(&ODD),
        4 => rng.below(1000) as f64 / 8.0,
        // Subnormals.
        _ => f64::from_bits(rng.next() & 0x800f_ffff_ffff_ffff),
    };
    let values = (0..rows).map(|_| value(rng)).collect();
    Values::F64(values, validity(rng, rows))
}
