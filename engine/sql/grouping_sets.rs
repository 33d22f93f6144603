//! The sets of keys that GROUP BY writes.
//!
//! Comes in: the parser's elements of GROUP BY: expressions, ROLLUP, CUBE, GROUPING SETS. Goes out: for each element its sets of expressions,
//! whose product are the sets of the query. Pure. Fails: modifiers that are not Spark SQL.

use super::place::{Failure, Parsed};
use datafusion::sql::sqlparser::ast::{Expr, GroupByWithModifier, Spanned};

type Sets<'t> = Vec<Vec<&'t Expr>>;

/// The sets of one element.
pub(super) fn sets_of(tree: &Expr) -> Sets<'_> {
    match tree {
        Expr::Tuple(parts) => vec![parts.iter().collect()],
        Expr::Rollup(parts) => rollup(&lists(parts)),
        Expr::Cube(parts) => cube(&lists(parts)),
        Expr::GroupingSets(sets) => lists(sets),
        other => vec![vec![other]],
    }
}

/// `WITH ROLLUP`, `WITH CUBE` and `GROUPING SETS (...)` behind the elements replace them; columns in front of GROUPING SETS come out.
pub(super) fn modified<'t>(
    elements: &mut Vec<Sets<'t>>,
    modifiers: &'t [GroupByWithModifier],
) -> Parsed<Option<Vec<&'t Expr>>> {
    let Some(modifier) = modifiers.first() else { return Ok(None) };
    let written: Vec<&Expr> = elements.iter().flatten().flatten().copied().collect();
    let single: Sets<'t> = written.iter().map(|tree| vec![*tree]).collect();
    let sets = match modifier {
        GroupByWithModifier::Rollup => rollup(&single),
        GroupByWithModifier::Cube => cube(&single),
        GroupByWithModifier::GroupingSets(sets) => sets_of(sets),
        GroupByWithModifier::Totals => {
            let span =
                written.first().map_or_else(datafusion::sql::sqlparser::tokenizer::Span::empty, |tree| tree.span());
            return Err(Failure::unsupported("WITH TOTALS is not Spark SQL; use WITH ROLLUP", span));
        }
    };
    *elements = vec![sets];
    Ok(Some(written))
}

/// Every set of the one with every set of the other.
pub(super) fn product(left: &[Vec<usize>], right: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let pair = |l: &Vec<usize>, r: &Vec<usize>| l.iter().chain(r).copied().collect();
    left.iter().flat_map(|l| right.iter().map(move |r| pair(l, r))).collect()
}

fn lists(parts: &[Vec<Expr>]) -> Sets<'_> {
    parts.iter().map(|part| part.iter().collect()).collect()
}

fn rollup<'t>(parts: &Sets<'t>) -> Sets<'t> {
    (0..=parts.len()).rev().map(|length| parts.iter().take(length).flatten().copied().collect()).collect()
}

fn cube<'t>(parts: &Sets<'t>) -> Sets<'t> {
    // So many that the frame refuses them.
    let parts = parts.get(..parts.len().min(13)).unwrap_or_default();
    let with = |mask: usize| {
        let kept = parts.iter().enumerate().filter(move |(at, _)| mask >> (parts.len() - 1 - at) & 1 == 0);
        kept.flat_map(|(_, part)| part).copied().collect()
    };
    (0..1usize << parts.len()).map(with).collect()
}
