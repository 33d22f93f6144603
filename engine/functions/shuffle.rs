//! `shuffle`: the values of an array in an order by chance.
//!
//! Comes in: an array, a constant seed, and the number of the row. Goes out: an array. Fails: seeds that are no constants.
//!
//! The order of a row follows from the seed and the row's number: it is the one that Spark gives where each row is a partition of its own.

use super::builtin::{Builtin, Call, Typed, typed, wrong_number};
use super::placed;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::spark_function::SparkFunction;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use std::sync::Arc;

pub(super) static SHUFFLE: Builtin = typed(
    "shuffle",
    (3, 3),
    |a| {
        a.element(0)?;
        Ok(Typed { arguments: vec![a.of(0).clone(), DataType::Int64, DataType::Int64], returns: a.of(0).clone() })
    },
    shuffled,
);

/// The call over the number of each row, which only tables have.
pub(super) fn call(args: &[Expr]) -> Result<Expr> {
    let (array, seed) = match args {
        [array] => {
            let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
            (array, ScalarValue::Int64(Some((high ^ low) as i64)))
        }
        [array, Expr::Literal(seed, _)] if seed.is_null() => (array, ScalarValue::Int64(Some(0))),
        [array, Expr::Literal(seed, _)] => (array, seed.cast_to(&DataType::Int64)?),
        [_, other] => {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("shuffle(): the seed must be a constant, not {other}"),
            ));
        }
        _ => return Err(wrong_number("shuffle", args.len(), "1 to 2")),
    };
    let row = SparkFunction::scalar(placed::row_number_of_table()?).call(vec![]);
    Ok(SparkFunction::scalar(&SHUFFLE).call(vec![array.clone(), Expr::Literal(seed, None), row]))
}

fn shuffled(call: &Call) -> Result<ArrayRef> {
    let (lists, rows) = (call.expanded(0)?, call.expanded(2)?);
    let Some(lists) = lists.as_list_opt::<i32>() else { return Ok(lists) };
    let rows = rows.as_primitive::<Int64Type>();
    let seed = call.long(1)?.get(0).unwrap_or(0);
    let (mut picked, mut lengths) = (Vec::<u32>::new(), Vec::with_capacity(lists.len()));
    for at in 0..lists.len() {
        let length = if lists.is_null(at) { 0 } else { lists.value_length(at).max(0) as usize };
        let first = lists.value_offsets().get(at).copied().unwrap_or(0) as u32;
        let mut random = MersenneTwister::new(seed.wrapping_add(rows.value(at)));
        let mut order: Vec<u32> = Vec::with_capacity(length);
        for next in 0..length as u32 {
            let place = random.below(next + 1) as usize;
            order.push(next);
            let last = order.len() - 1;
            order.swap(place, last);
        }
        picked.extend(order.iter().map(|index| first + index));
        lengths.push(length);
    }
    let values = take(lists.values(), &UInt32Array::from(picked), None)?;
    let DataType::List(field) = lists.data_type() else { return Err(Error::internal("a list that is none")) };
    Ok(Arc::new(ListArray::try_new(
        field.clone(),
        OffsetBuffer::from_lengths(lengths),
        values,
        lists.nulls().cloned(),
    )?))
}

/// Matsumoto and Nishimura's MT19937, seeded by the two halves of a number.
struct MersenneTwister {
    words: [u32; 624],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: i64) -> Self {
        let key = [((seed as u64) >> 32) as u32, seed as u32];
        let mut words = [0u32; 624];
        let mut last = 19_650_218u32;
        for (at, word) in words.iter_mut().enumerate() {
            if at > 0 {
                last = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(at as u32);
            }
            *word = last;
        }
        let (mut at, mut part) = (1, 0);
        let step = |words: &mut [u32; 624], at: &mut usize, factor: u32, more: u32, minus: u32| {
            let before = words[*at - 1];
            let mixed = words[*at] ^ (before ^ (before >> 30)).wrapping_mul(factor);
            words[*at] = mixed.wrapping_add(more).wrapping_sub(minus);
            *at += 1;
            if *at == 624 {
                words[0] = words[623];
                *at = 1;
            }
        };
        for _ in 0..624 {
            let more = key[part].wrapping_add(part as u32);
            step(&mut words, &mut at, 1_664_525, more, 0);
            part = (part + 1) % 2;
        }
        for _ in 0..623 {
            let minus = at as u32;
            step(&mut words, &mut at, 1_566_083_941, 0, minus);
        }
        words[0] = 0x8000_0000;
        Self { words, next: 624 }
    }

    fn next(&mut self, bits: u32) -> i32 {
        if self.next == 624 {
            for at in 0..624 {
                let mixed = (self.words[at] & 0x8000_0000) | (self.words[(at + 1) % 624] & 0x7fff_ffff);
                let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[at] = self.words[(at + 397) % 624] ^ (mixed >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^= word >> 18;
        (word >> (32 - bits)) as i32
    }

    /// A number below `n`, each as likely.
    fn below(&mut self, n: u32) -> u32 {
        if n.is_power_of_two() {
            return ((i64::from(n) * i64::from(self.next(31))) >> 31) as u32;
        }
        let n = n as i32;
        loop {
            let bits = self.next(31);
            let value = bits % n;
            if bits.wrapping_sub(value).wrapping_add(n - 1) >= 0 {
                return value as u32;
            }
        }
    }
}
