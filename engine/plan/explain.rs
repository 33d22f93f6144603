//! Text of a plan for people: what was written, what each stage does, and on which device.
//!
//! Comes in: a logical plan and its lowering. Goes out: lines.

use super::aggregate::PartialPlan;
use super::logical::LogicalPlan;
use super::lower::{Body, Branch, Expand, ExpandKind, Feed, QueryPlan, Step, Target};
use super::scan::ScanColumn;
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
    for (index, provider) in lowered.sources().into_iter().enumerate() {
        writeln!(text, "source {index}: {}", provider.describe())?;
        for (branch, _) in lowered.inputs().filter(|(_, source)| *source == index) {
            branch_stages(text, lowered, branch, device)?;
        }
    }
    for (index, stage) in lowered.stages.iter().enumerate() {
        writeln!(text, "{} [cpu, state]: {}", stage.id, stage.operator.describe())?;
        for branch in lowered.branches.iter().filter(|b| matches!(b.feed, Feed::Stage(from) if from == index)) {
            branch_stages(text, lowered, branch, device)?;
        }
    }
    Ok(())
}

fn branch_stages(text: &mut String, lowered: &QueryPlan, branch: &Branch, device: &str) -> std::fmt::Result {
    if let Feed::Source { .. } = branch.feed {
        let name = |c: &ScanColumn| format!("{}{}", c.name, if c.dictionary { " (dictionary)" } else { "" });
        let columns: Vec<String> = branch.scan.columns.iter().map(name).collect();
        writeln!(text, "  decode [cpu]: {}", columns.join(", "))?;
    }
    for step in &branch.steps {
        match step {
            Step::Filter(predicate) => writeln!(text, "  filter [cpu]: {predicate}")?,
            Step::Measure { name, metrics, .. } => {
                let metrics: Vec<String> = metrics.iter().map(|m| format!("{} AS {}", m.expr, m.name)).collect();
                writeln!(text, "  observe {name} [cpu]: {}", metrics.join(", "))?;
            }
            Step::Observe { node, time } => writeln!(text, "  watermark {node} [cpu]: max({time})")?,
            Step::Expand(Expand { kind: ExpandKind::Generate { generator, .. }, .. }) => {
                writeln!(text, "  generate [cpu]: {generator}")?;
            }
            Step::Expand(Expand { kind: ExpandKind::Sessions { keys, time, gap, .. }, .. }) => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                writeln!(text, "  sessions [cpu]: of {time} within {gap} by [{}]", keys.join(", "))?;
            }
            Step::Expand(Expand { kind: ExpandKind::Join { keys, table, .. }, .. }) => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                writeln!(text, "  join with a table [cpu, {:?}]: {}", table.kind, keys.join(", "))?;
            }
        }
    }
    match &branch.body {
        Body::Rows(rows, _) => {
            let rows: Vec<String> = rows.iter().map(|n| format!("{} AS {}", n.expr, n.name)).collect();
            writeln!(text, "  project [cpu]: {}", rows.join(", "))?;
        }
        Body::Partial(partial) => partial_stage(text, partial, device)?,
    }
    match branch.target {
        Target::Output => writeln!(text, "  to the sink"),
        Target::Stage { stage, .. } => {
            let id = lowered.stages.get(stage).map_or("", |stage| stage.id.as_str());
            writeln!(text, "  to {id}")
        }
    }
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
