//! How alike two texts are.
//!
//! Comes in: two texts. Goes out: a number from 0 for nothing in common to 1 for the same. Fails: nothing.

use crate::error::Result;
use crate::functions::builtin::{Call, strict};
use arrow::array::{ArrayRef, Float64Array};

pub(super) fn jaro_winkler(call: &Call) -> Result<ArrayRef> {
    strict!(call, Float64Array, |left: text 0, right: text 1| Ok(Some(similarity(left, right))))
}

fn similarity(left: &str, right: &str) -> f64 {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let jaro = jaro(&left, &right);
    let prefix = left.iter().zip(&right).take(4).take_while(|(l, r)| l == r).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}

/// Jaro's similarity: letters that both have at nearly the same place, and how many of them stand in another order.
fn jaro(left: &[char], right: &[char]) -> f64 {
    if left.is_empty() && right.is_empty() {
        return 1.0;
    }
    let window = (left.len().max(right.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; right.len()];
    let mut matched = Vec::new();
    for (at, letter) in left.iter().enumerate() {
        let near = taken.iter_mut().zip(right).enumerate().skip(at.saturating_sub(window));
        let mut near = near.take_while(|(other, _)| *other <= at + window);
        if let Some((_, (taken, _))) = near.find(|(_, (taken, other))| !**taken && *other == letter) {
            *taken = true;
            matched.push(*letter);
        }
    }
    if matched.is_empty() {
        return 0.0;
    }
    let ordered = taken.iter().zip(right).filter(|(taken, _)| **taken).map(|(_, letter)| *letter);
    let moved = matched.iter().zip(ordered).filter(|(l, r)| **l != *r).count();
    let count = matched.len() as f64;
    (count / left.len() as f64 + count / right.len() as f64 + (count - moved as f64 / 2.0) / count) / 3.0
}
