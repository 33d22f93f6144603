//! Worked examples of Spark's semantics: `cases/*.case`, each run on the native twins and, where there is one, on the
//! software GPU. One JSON file is one micro-batch, as in the runs of Spark that the values were recorded from. Beside them: triggers, the
//! life of a query, and recovery, whose faults need the feature `failpoints`.

mod aggregates;
mod call_text;
mod case;
mod continuous;
#[path = "../support/device.rs"]
mod device;
mod expressions;
mod functions;
mod invariance;
mod joins;
mod lifecycle;
mod mistakes;
mod monitoring;
mod parity;
#[cfg(feature = "failpoints")]
mod recovery;
mod tables;
mod triggers;

use case::Case;

async fn run_all(device: &str) {
    let mut paths: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/semantics/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 8, "the cases are gone");
    let mut failures = Vec::new();
    for path in paths {
        let case = Case::read(&path);
        if let Err(difference) = case.run(device).await {
            failures.push(format!("{} on {device}: {difference}", path.file_stem().unwrap().to_string_lossy()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_on_the_cpu() {
    run_all("cpu").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_on_a_software_gpu() {
    let Some(device) = device::software_gpu("cases_on_a_software_gpu") else { return };
    run_all(&device).await;
}
