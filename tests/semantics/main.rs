//! Worked examples of Spark's semantics: `cases/*.case`, each run on the native twins and, where there is one, on the
//! software GPU. One JSON file is one micro-batch, as in the runs of Spark that the values were recorded from. Beside them: triggers, the
//! life of a query, and recovery, whose faults need the feature `failpoints`.

mod aggregates;
mod call_text;
mod case;
mod continuous;
#[path = "../support/device.rs"]
mod device;
mod embedding;
mod error_codes;
mod expressions;
#[cfg(feature = "failpoints")]
mod faults;
mod functions;
mod invariance;
mod joins;
mod lifecycle;
mod mistakes;
mod monitoring;
mod parity;
mod programs;
#[cfg(feature = "failpoints")]
mod recovery;
mod refusals;
mod stateful;
mod table_operations;
mod table_windows;
mod tables;
mod triggers;
mod writes;

use case::{Case, How};
use std::path::PathBuf;

fn cases() -> Vec<(String, Case)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/semantics/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 8, "the cases are gone");
    paths.iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), Case::read(path))).collect()
}

/// Runs every case, or those whose name has the words of `TIDEMILL_CASE` in it.
async fn run_all(how: How<'_>) {
    let wanted = std::env::var("TIDEMILL_CASE").unwrap_or_default();
    let cases = cases();
    let runs = cases.iter().filter(|(name, _)| name.contains(&wanted)).map(async |(name, case)| {
        case.run(how).await.map_err(|difference| format!("{name} on {}: {difference}", how.device))
    });
    let outcomes = futures::future::join_all(runs).await;
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_on_the_cpu() {
    run_all(How { device: "cpu", ..How::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_on_a_software_gpu() {
    let Some(device) = device::software_gpu("cases_on_a_software_gpu") else { return };
    run_all(How { device: &device, ..How::default() }).await;
}

/// What a step leads to does not depend on whether the query ran on or went on from its checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn cases_with_a_restart_after_every_step() {
    run_all(How { device: "cpu", restarts: true, ..How::default() }).await;
}

/// Nor do the rows depend on where the query died. (A table in memory forgets with its query what it has published, so a batch that died
/// right after that is not among these; files are, in [`recovery`].)
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn cases_through_faults() {
    use tidemill::checkpoint::fail;
    for point in [fail::AFTER_OFFSETS, fail::AFTER_STATE, fail::AFTER_PREPARED, fail::AFTER_COMMIT] {
        run_all(How { device: "cpu", fault: Some((point, 0)), ..How::default() }).await;
    }
}
