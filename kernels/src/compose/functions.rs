//! The functions of one query that the skeletons' `//# insert` lines stand for.
//!
//! Comes in: the name on such a line, program, shape and layout. Goes out: WGSL. Nothing fails.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::predicate::condition;
use super::{Form, Kernel, PRIVATE_WORDS, Place, Shape, Tier, instantiate};
use crate::program::{ColumnId, Function, Predicate, Program, TableId};

/// The text for `//# insert name`.
pub(super) fn insert(name: &str, program: &Program, shape: &Shape, kernel: &Kernel) -> String {
    match name {
        "params" => params(kernel),
        "columns" => shape.columns.iter().enumerate().map(|(c, form)| column(c, *form)).collect(),
        "filter" => {
            let condition = program.filter.as_ref().map_or("true".into(), |filter| condition(filter, true));
            format!("\n// Whether the row takes part.\nfn passes(row: u32) -> bool {{\n  return {condition};\n}}\n")
        }
        "pane" => pane(program, shape),
        "same_group" => same_group(program, shape),
        "hash" => hash(program, shape),
        "dense_slot" => dense_slot(program, shape),
        "max_of" => max_of(program),
        "update acc" => update("acc", program, kernel),
        "update lacc" => update("lacc", program, kernel) + &global_half(program, kernel),
        "flush" => flush(program, kernel),
        _ => String::new(),
    }
}

/// The truth tables and HLL tables that the program reads.
pub(super) fn tables(program: &Program) -> (BTreeSet<TableId>, BTreeSet<TableId>) {
    let (mut tables, mut hll_tables) = (BTreeSet::new(), BTreeSet::new());
    let mut open: Vec<&Predicate> = program.filter.iter().collect();
    for aggregate in &program.aggregates {
        open.extend(&aggregate.filter);
        if let Function::Hll { table, .. } = aggregate.function {
            hll_tables.insert(table);
        }
    }
    while let Some(predicate) = open.pop() {
        match predicate {
            Predicate::Table { table, .. } => {
                tables.insert(*table);
            }
            Predicate::And(a, b) | Predicate::Or(a, b) => open.extend([&**a, &**b]),
            Predicate::Not(a) => open.push(a),
            Predicate::Column(_) | Predicate::Compare { .. } | Predicate::IsNull(_) => {}
        }
    }
    (tables, hll_tables)
}

/// The parameter buffer's type and the sizes that the skeletons name.
fn params(kernel: &Kernel) -> String {
    let mut text = String::from("\n// One word each, in the order in which the host writes them.\nstruct Params {\n");
    for param in &kernel.params {
        let _ = writeln!(text, "  {}: u32,", param.name());
    }
    let _ = write!(
        text,
        "}}\n\nconst WIDTH: u32 = {}u;          // words of a slot's accumulators\n\
         const REGISTERS: u32 = {}u;      // HLL registers of a slot\n\
         const SETS: u32 = {}u;           // sets of distinct values\n\
         const PRIVATE_WORDS: u32 = {PRIVATE_WORDS}u;\n\n",
        kernel.width, kernel.registers, kernel.sets
    );
    text
}

/// Access to one column: `_valid`, and `_value` and `_key` or `_code`.
fn column(c: ColumnId, form: Form) -> String {
    let valid = format!(
        "\nfn c{c}_valid(row: u32) -> bool {{ return bit_at(params.c{c}_valid_at, params.c{c}_valid_bit, row); }}\n"
    );
    match form {
        Form::Unused => String::new(),
        Form::Shifted => valid,
        Form::Narrow => {
            valid
                + &format!(
                    "fn c{c}_value(row: u32) -> vec2<u32> {{\n  \
                     return add64(vec2<u32>(params.c{c}_base_low, params.c{c}_base_high), \
                     vec2<u32>(word_at(params.c{c}_at, row), 0u));\n}}\n\
                     fn c{c}_key(row: u32) -> vec2<u32> {{ return i64_key(c{c}_value(row)); }}\n"
                )
        }
        Form::Wide => {
            valid
                + &format!(
                    "fn c{c}_value(row: u32) -> vec2<u32> {{ return pair_at(params.c{c}_at, row); }}\n\
                     fn c{c}_key(row: u32) -> vec2<u32> {{ return i64_key(c{c}_value(row)); }}\n"
                )
        }
        Form::F64 { .. } => {
            valid
                + &format!(
                    "fn c{c}_value(row: u32) -> vec2<u32> {{ return pair_at(params.c{c}_at, row); }}\n\
                     fn c{c}_key(row: u32) -> vec2<u32> {{ return f64_key(c{c}_value(row)); }}\n"
                )
        }
        Form::Code => format!(
            "\nfn c{c}_code(row: u32) -> u32 {{ return packed_at(params.c{c}_at, params.c{c}_lanes, row); }}\n\
             fn c{c}_valid(row: u32) -> bool {{ return c{c}_code(row) != params.c{c}_null; }}\n"
        ),
        Form::Truth => {
            format!("\nfn c{c}_valid(row: u32) -> bool {{ return packed_at(params.c{c}_at, 2u, row) != 2u; }}\n")
        }
    }
}

/// `has_pane(row)` and `pane_of(row)`, the number of the row's pane, counted from the batch's first.
fn pane(program: &Program, shape: &Shape) -> String {
    let Some(pane) = program.pane else {
        return "\nfn has_pane(row: u32) -> bool { return true; }\nfn pane_of(row: u32) -> u32 { return 0u; }\n".into();
    };
    let c = pane.time;
    let mut text = format!("\nfn has_pane(row: u32) -> bool {{ return c{c}_valid(row); }}\n");
    if wide_pane(program, shape) {
        let _ = write!(
            text,
            "fn pane_of(row: u32) -> vec2<u32> {{\n  \
             let distance = sub64(c{c}_value(row), vec2<u32>(params.c{c}_base_low, params.c{c}_base_high));\n  \
             return div64(shr64(distance, params.pane_shift), vec2<u32>(params.pane_width_low, params.pane_width_high));\n}}\n"
        );
    } else {
        let _ = writeln!(
            text,
            "fn pane_of(row: u32) -> u32 {{ return word_at(params.c{c}_at, row) / params.pane_width_low; }}"
        );
    }
    text
}

fn wide_pane(program: &Program, shape: &Shape) -> bool {
    program.pane.is_some_and(|pane| shape.columns.get(pane.time) == Some(&Form::Wide))
}

/// `same_group(a, b)`: by slot where slots are computed, else by pane and keys.
fn same_group(program: &Program, shape: &Shape) -> String {
    if shape.tier != Tier::Hash {
        return "\nfn same_group(a: u32, b: u32) -> bool { return dense_slot(a) == dense_slot(b); }\n".into();
    }
    let mut text = String::new();
    let mut terms = Vec::new();
    for &c in &program.keys {
        match shape.columns.get(c) {
            Some(Form::Code) => terms.push(format!("c{c}_code(a) == c{c}_code(b)")),
            Some(form) => {
                let same = match form {
                    Form::Narrow => format!("word_at(params.c{c}_at, a) == word_at(params.c{c}_at, b)"),
                    _ => format!("all(c{c}_value(a) == c{c}_value(b))"),
                };
                let function = format!(
                    "\nfn c{c}_same(a: u32, b: u32) -> bool {{\n  let valid = c{c}_valid(a);\n  \
                     return valid == c{c}_valid(b) && (!valid || {same});\n}}\n"
                );
                if !text.contains(&function) {
                    text.push_str(&function);
                }
                terms.push(format!("c{c}_same(a, b)"));
            }
            None => {}
        }
    }
    match (program.pane, wide_pane(program, shape)) {
        (Some(_), true) => terms.push("all(pane_of(a) == pane_of(b))".into()),
        (Some(_), false) => terms.push("pane_of(a) == pane_of(b)".into()),
        (None, _) => {}
    }
    let condition = if terms.is_empty() { "true".into() } else { terms.join(" && ") };
    let _ = write!(
        text,
        "\n// Whether two rows belong to one group.\nfn same_group(a: u32, b: u32) -> bool {{\n  return {condition};\n}}\n"
    );
    text
}

/// `hash_group(row)`.
fn hash(program: &Program, shape: &Shape) -> String {
    let mut text = String::from("\nfn hash_group(row: u32) -> u32 {\n  var h = 0u;\n");
    match (program.pane, wide_pane(program, shape)) {
        (Some(_), true) => {
            text.push_str("  let pane = pane_of(row);\n  h = hash_step(hash_step(h, pane.x), pane.y);\n")
        }
        (Some(_), false) => text.push_str("  h = hash_step(h, pane_of(row));\n"),
        (None, _) => {}
    }
    for &c in &program.keys {
        let _ = match shape.columns.get(c) {
            Some(Form::Code) => writeln!(text, "  h = hash_step(h, c{c}_code(row));"),
            Some(Form::Narrow) => writeln!(
                text,
                "  if (c{c}_valid(row)) {{ h = hash_step(h, word_at(params.c{c}_at, row)); }} else {{ h = hash_step(~h, 0u); }}"
            ),
            _ => writeln!(
                text,
                "  if (c{c}_valid(row)) {{ h = hash_step(hash_step(h, c{c}_value(row).x), c{c}_value(row).y); }} \
                 else {{ h = hash_step(~h, 0u); }}"
            ),
        };
    }
    text.push_str("  return hash_end(h);\n}\n");
    text
}

/// `dense_slot(row)`: pane and codes as digits of a mixed-radix number.
fn dense_slot(program: &Program, shape: &Shape) -> String {
    let pane = if wide_pane(program, shape) { "pane_of(row).x" } else { "pane_of(row)" };
    let mut text = format!("\nfn dense_slot(row: u32) -> u32 {{\n  var slot = {pane} * params.pane_step;\n");
    for (i, c) in program.keys.iter().enumerate() {
        let _ = writeln!(text, "  slot += c{c}_code(row) * params.key{i}_step;");
    }
    text.push_str("  return slot;\n}\n");
    text
}

/// `later_row(best, row)`: of a row plus one (or 0) and a row, the one with the greater watermark column, plus one.
fn max_of(program: &Program) -> String {
    let Some(c) = program.max_of else {
        return "fn later_row(best: u32, row: u32) -> u32 { return best; }\n".into();
    };
    format!(
        "// Of the row `best - 1`, if best is not 0, and `row`: the one with the greater time, plus one.\n\
         fn later_row(best: u32, row: u32) -> u32 {{\n  if (!c{c}_valid(row)) {{ return best; }}\n  \
         if (best != 0u && !less64(c{c}_key(best - 1u), c{c}_key(row))) {{ return best; }}\n  return row + 1u;\n}}\n"
    )
}

/// `acc_update(slot, row)` over the array `acc` with the functions that it calls.
fn update(acc: &str, program: &Program, kernel: &Kernel) -> String {
    let mut text = accumulator_functions(acc, program);
    for (aggregate, place) in program.aggregates.iter().zip(&kernel.places) {
        if let (Function::Distinct(c), Place::Distinct { set }) = (&aggregate.function, place) {
            let names = [
                ("INSERT", format!("insert_distinct{set}")),
                ("CODE", format!("c{c}_code")),
                ("SET", format!("{set}u")),
            ];
            let names: Vec<(&str, &str)> = names.iter().map(|(from, to)| (*from, to.as_str())).collect();
            text.push('\n');
            text.push_str(&instantiate("lib/distinct.wgsl", &names));
        }
    }
    let _ = write!(
        text,
        "\n// Adds the row to its group's accumulators.\nfn {acc}_update(slot: u32, row: u32) {{\n  \
         let at = slot * WIDTH;\n  \
         if (atomicLoad(&{acc}[at]) < ~row) {{ atomicMax(&{acc}[at], ~row); }}\n  atomicAdd(&{acc}[at + 1u], 1u);\n"
    );
    for (aggregate, place) in program.aggregates.iter().zip(&kernel.places) {
        let Some((mut guard, statement)) = step(acc, &aggregate.function, *place) else { continue };
        if let Some(filter) = &aggregate.filter {
            guard.insert(0, condition(filter, true));
        }
        let _ = match guard.is_empty() {
            true => writeln!(text, "  {statement}"),
            false => writeln!(text, "  if ({}) {{ {statement} }}", guard.join(" && ")),
        };
    }
    text.push_str("}\n");
    text
}

/// What one aggregate does with a row, and under which conditions besides its filter.
fn step(acc: &str, function: &Function, place: Place) -> Option<(Vec<String>, String)> {
    let valid = |c: &ColumnId| vec![format!("c{c}_valid(row)")];
    Some(match (function, place) {
        (Function::CountRows, Place::Count { word }) => (vec![], format!("atomicAdd(&{acc}[at + {word}u], 1u);")),
        (Function::Count(c), Place::Count { word }) => (valid(c), format!("atomicAdd(&{acc}[at + {word}u], 1u);")),
        (Function::SumF64(c), Place::SumF64 { word, limbs }) => (
            valid(c),
            format!(
                "atomicAdd(&{acc}[at + {word}u], 1u); \
                 {acc}_add_f64(at + {}u, {limbs}u, params.c{c}_exponent_min, c{c}_value(row));",
                word + 1
            ),
        ),
        (Function::SumI64(c), Place::SumI64 { word }) => (
            valid(c),
            format!("atomicAdd(&{acc}[at + {word}u], 1u); {acc}_add_i64(at + {}u, c{c}_value(row));", word + 1),
        ),
        (Function::Min(c), Place::MinMax { word }) => (valid(c), format!("{acc}_offer_min{c}(at + {word}u, row);")),
        (Function::Max(c), Place::MinMax { word }) => (valid(c), format!("{acc}_offer_max{c}(at + {word}u, row);")),
        (Function::Hll { column: c, table: t, .. }, Place::Hll { first, .. }) => (
            vec![],
            format!(
                "let entry = word_at(params.hll_table{t}_at, c{c}_code(row)); \
                 raise_register(slot * REGISTERS + {first}u + (entry >> 8u), entry & 0xFFu);"
            ),
        ),
        (Function::Distinct(c), Place::Distinct { set }) => (valid(c), format!("insert_distinct{set}(slot, row);")),
        _ => return None,
    })
    .map(|(guard, statement)| match function {
        // A block of its own, so that two aggregates may both call a value `entry`.
        Function::Hll { .. } => (guard, format!("{{ {statement} }}")),
        _ => (guard, statement),
    })
}

/// Library functions over the accumulator array `acc`.
fn accumulator_functions(acc: &str, program: &Program) -> String {
    let mut text = String::new();
    let functions = || program.aggregates.iter().map(|aggregate| &aggregate.function);
    if functions().any(|function| matches!(function, Function::SumF64(_) | Function::SumI64(_))) {
        text.push('\n');
        text.push_str(&instantiate("lib/exact_sum.wgsl", &[("acc", acc)]));
    }
    let extremes: BTreeSet<(ColumnId, bool)> = functions()
        .filter_map(|function| match function {
            Function::Min(c) => Some((*c, false)),
            Function::Max(c) => Some((*c, true)),
            _ => None,
        })
        .collect();
    for (c, greatest) in extremes {
        let offer = format!("{acc}_offer_{}{c}", if greatest { "max" } else { "min" });
        let better = if greatest { "held, key" } else { "key, held" };
        let key = format!("c{c}_key");
        text.push('\n');
        text.push_str(&instantiate(
            "lib/extreme.wgsl",
            &[("acc_offer", &offer), ("acc", acc), ("KEY", &key), ("BETTER", better)],
        ));
    }
    text
}

/// What flushing needs over the global accumulators: only extremes are offered again row by row.
fn global_half(program: &Program, kernel: &Kernel) -> String {
    if !kernel.places.iter().any(|place| matches!(place, Place::MinMax { .. })) {
        return String::new();
    }
    let mut extremes = program.clone();
    extremes.aggregates.retain(|aggregate| matches!(aggregate.function, Function::Min(_) | Function::Max(_)));
    accumulator_functions("acc", &extremes)
}

/// `flush(slot)`: a slot of the workgroup onto the same slot of the device.
fn flush(program: &Program, kernel: &Kernel) -> String {
    let mut text = String::from(
        "\nfn flush(slot: u32) {\n  let at = slot * WIDTH;\n  \
         atomicMax(&acc[at], atomicLoad(&lacc[at]));\n  atomicAdd(&acc[at + 1u], atomicLoad(&lacc[at + 1u]));\n",
    );
    for (aggregate, place) in program.aggregates.iter().zip(&kernel.places) {
        let _ = match (*place, &aggregate.function) {
            (Place::Count { word }, _) => {
                writeln!(text, "  atomicAdd(&acc[at + {word}u], atomicLoad(&lacc[at + {word}u]));")
            }
            (Place::SumF64 { word, limbs }, _) => writeln!(
                text,
                "  atomicAdd(&acc[at + {word}u], atomicLoad(&lacc[at + {word}u]));\n  \
                 atomicOr(&acc[at + {flags}u], atomicLoad(&lacc[at + {flags}u]));\n  \
                 flush_limbs(at + {sum}u, at + {sum}u, {limbs}u);",
                flags = word + 1,
                sum = word + 2
            ),
            (Place::SumI64 { word }, _) => writeln!(
                text,
                "  atomicAdd(&acc[at + {word}u], atomicLoad(&lacc[at + {word}u]));\n  \
                 flush_limbs(at + {sum}u, at + {sum}u, 3u);",
                sum = word + 1
            ),
            (Place::MinMax { word }, Function::Min(c) | Function::Max(c)) => {
                let which = if matches!(aggregate.function, Function::Min(_)) { "min" } else { "max" };
                writeln!(
                    text,
                    "  {{ let row = atomicLoad(&lacc[at + {word}u]); if (row != 0u) {{ acc_offer_{which}{c}(at + {word}u, row - 1u); }} }}"
                )
            }
            _ => Ok(()),
        };
    }
    text.push_str("}\n");
    text
}
