//! Three-valued predicates as WGSL conditions.
//!
//! Comes in: a [`Predicate`]. Goes out: the text of two boolean expressions over `row`, "is TRUE" and "is FALSE", which
//! together are SQL's three values without a third value in the shader: NOT swaps them, AND and OR combine them by De
//! Morgan, and a NULL leaf is neither. Fails with [`TooComplex`] on predicates that nest too deeply for a shader compiler.

use super::TooComplex;
use crate::program::{Compare, Predicate};

/// Nesting that naga, which gives up at 256, and every driver behind it bear easily.
const MAX_DEPTH: usize = 48;
/// Leaves past which compiling takes longer than the twin takes for many batches.
const MAX_NODES: usize = 1024;

/// Refuses predicates too deep or too long to compile. Chains of one connective do not count as depth.
pub(super) fn check(predicate: &Predicate) -> Result<(), TooComplex> {
    let mut nodes = 0;
    // Explicit, because the depth is just what is not known yet. `connective`: 0 none, 1 AND, 2 OR.
    let mut open = vec![(predicate, 0, 0)];
    while let Some((node, depth, parent)) = open.pop() {
        nodes += 1;
        if depth > MAX_DEPTH || nodes > MAX_NODES {
            return Err(TooComplex(format!(
                "a predicate nests deeper than {MAX_DEPTH} or has more than {MAX_NODES} parts"
            )));
        }
        match node {
            Predicate::And(a, b) | Predicate::Or(a, b) => {
                let connective = if matches!(node, Predicate::And(..)) { 1 } else { 2 };
                let depth = depth + usize::from(connective != parent);
                open.extend([(&**a, depth, connective), (&**b, depth, connective)]);
            }
            Predicate::Not(a) => open.push((&**a, depth + 1, 0)),
            _ => {}
        }
    }
    Ok(())
}

/// The condition that `predicate` has the truth value `wanted`. `is_code` tells dictionary columns from the others.
pub(super) fn condition(predicate: &Predicate, wanted: bool) -> String {
    match predicate {
        Predicate::Column(c) => format!("packed_at(params.c{c}_at, 2u, row) == {}u", u32::from(wanted)),
        Predicate::Table { column: c, table: t } => {
            format!("packed_at(params.table{t}_at, 2u, c{c}_code(row)) == {}u", u32::from(wanted))
        }
        Predicate::IsNull(c) => format!("{}c{c}_valid(row)", if wanted { "!" } else { "" }),
        Predicate::Compare { column: c, op, key } => {
            let key = *key as u64 ^ 1 << 63;
            let key = format!("vec2<u32>({}u, {}u)", key as u32, key >> 32);
            let value = format!("c{c}_key(row)");
            let holds = match op {
                Compare::Eq => format!("all({value} == {key})"),
                Compare::NotEq => format!("any({value} != {key})"),
                Compare::Lt => format!("less64({value}, {key})"),
                Compare::LtEq => format!("!less64({key}, {value})"),
                Compare::Gt => format!("less64({key}, {value})"),
                Compare::GtEq => format!("!less64({value}, {key})"),
            };
            format!("(c{c}_valid(row) && {}{holds})", if wanted { "" } else { "!" }).replace("!!", "")
        }
        Predicate::And(..) => chain(predicate, wanted, if wanted { " && " } else { " || " }),
        Predicate::Or(..) => chain(predicate, wanted, if wanted { " || " } else { " && " }),
        Predicate::Not(a) => condition(a, !wanted),
    }
}

/// A run of one connective, flat.
fn chain(predicate: &Predicate, wanted: bool, joint: &str) -> String {
    let is_and = matches!(predicate, Predicate::And(..));
    let mut terms = Vec::new();
    let mut open = vec![predicate];
    while let Some(node) = open.pop() {
        match node {
            Predicate::And(a, b) if is_and => open.extend([&**b, &**a]),
            Predicate::Or(a, b) if !is_and => open.extend([&**b, &**a]),
            leaf => terms.push(condition(leaf, wanted)),
        }
    }
    format!("({})", terms.join(joint))
}
