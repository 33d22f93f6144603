//! Text of a plan for people: what was written, what each stage does, and on which device.
//!
//! Comes in: a logical plan and its lowering. Goes out: lines.

use super::aggregate::{AggregatePlan, PartialPlan};
use super::logical::LogicalPlan;
use super::lower::{Body, OutputStep, QueryPlan, Step};
use std::fmt::Write;

/// The explanation of a query that runs its kernels on `device`.
pub fn explain(plan: &LogicalPlan, lowered: &QueryPlan, device: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, plan, lowered, device);
    text
}

fn write(text: &mut String, plan: &LogicalPlan, lowered: &QueryPlan, device: &str) -> std::fmt::Result {
    writeln!(text, "== Logical Plan ==\n{plan}")?;
    writeln!(text, "== Stages ==")?;
    for (index, branch) in lowered.branches.iter().enumerate() {
        writeln!(text, "source {index}: {}", branch.provider.describe())?;
        let columns: Vec<String> = branch
            .scan
            .columns
            .iter()
            .map(|c| format!("{}{}", c.name, if c.dictionary { " (dictionary)" } else { "" }))
            .collect();
        writeln!(text, "  decode [cpu]: {}", columns.join(", "))?;
        for step in &branch.steps {
            match step {
                Step::Filter(predicate) => writeln!(text, "  filter [cpu, may fail a row]: {predicate}")?,
                Step::Observe { node, time } => writeln!(text, "  watermark {node} [cpu]: max({time})")?,
            }
        }
        match &branch.body {
            Body::Rows(rows) => {
                let rows: Vec<String> = rows.iter().map(|n| format!("{} AS {}", n.expr, n.name)).collect();
                writeln!(text, "  project [cpu]: {}", rows.join(", "))?;
            }
            Body::Partial(partial) => partial_stage(text, partial, device)?,
        }
    }
    if let Some(aggregate) = &lowered.aggregate {
        state_stage(text, aggregate)?;
    }
    for step in &lowered.output {
        match step {
            OutputStep::Filter(predicate) => writeln!(text, "filter [cpu]: {predicate}")?,
            OutputStep::Project(columns, _) => {
                let columns: Vec<String> = columns.iter().map(|n| format!("{} AS {}", n.expr, n.name)).collect();
                writeln!(text, "project [cpu]: {}", columns.join(", "))?;
            }
        }
    }
    Ok(())
}

fn partial_stage(text: &mut String, partial: &PartialPlan, device: &str) -> std::fmt::Result {
    let program = &partial.program;
    let filter = if program.filter.is_some() { "filter, " } else { "" };
    let pane = program.pane.map_or(String::new(), |p| format!("pane of {} us, ", p.width));
    writeln!(
        text,
        "  partial aggregate [{device}]: {filter}{pane}{} keys, {} aggregates over {} columns",
        program.keys.len(),
        program.aggregates.len(),
        program.columns.len()
    )?;
    for host in &partial.host {
        writeln!(text, "  partial aggregate [cpu, no kernel]: {}", host.call.text())?;
    }
    Ok(())
}

fn state_stage(text: &mut String, aggregate: &AggregatePlan) -> std::fmt::Result {
    let bounded = if aggregate.evicts() { "until the watermark passes the window" } else { "for ever" };
    writeln!(text, "state merge [cpu]: {} aggregates a group, kept {bounded}", aggregate.calls.len())
}
