//! The process that is killed: how the parent starts it, and what it does.

use crate::join;
use crate::pipelines::{self, Settings};
use fail_parallel::FailPointRegistry;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidemill::checkpoint::FailPoints;
use tidemill::prelude::*;

/// Names the query; set in children only.
pub const CHILD: &str = "TIDEMILL_TEST_CHILD";
const POINT: &str = "TIDEMILL_TEST_POINT";
const HIT: &str = "TIDEMILL_TEST_HIT";
const BROKERS: &str = "TIDEMILL_TEST_BROKERS";
const LOCATION: &str = "TIDEMILL_TEST_LOCATION";

/// When a child dies.
#[derive(Debug, Clone)]
pub enum Kill {
    /// At the `hit`th time it passes a point.
    At { point: String, hit: u32 },
    /// So long after it was started.
    After(Duration),
}

/// How a child ended.
pub enum Outcome {
    Finished,
    Killed,
    Failed(String),
}

/// Runs a query in a child until it has taken in everything, or dies.
pub fn run(query: &str, settings: &Settings, kill: Option<&Kill>) -> Outcome {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let location = std::path::Path::new(&settings.checkpoints).parent().unwrap();
    command
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, query)
        .env(BROKERS, &settings.brokers)
        .env(LOCATION, location)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(Kill::At { point, hit }) = kill {
        command.env(POINT, point).env(HIT, hit.to_string());
    }
    let mut child = command.spawn().unwrap();
    if let Some(Kill::After(time)) = kill {
        // The time is the fault that is injected; nothing waits for it to have been long enough.
        std::thread::sleep(*time);
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    use std::os::unix::process::ExitStatusExt;
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Outcome::Finished,
        (_, Some(9)) => Outcome::Killed,
        _ => Outcome::Failed(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Runs the query that the environment names, and dies where the environment says.
pub fn main() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let registry = Arc::new(FailPointRegistry::new());
    if let Ok(point) = std::env::var(POINT) {
        let last: u32 = variable(HIT).parse().unwrap();
        let hits = AtomicU32::new(0);
        let die = move || {
            if hits.fetch_add(1, Ordering::SeqCst) + 1 == last {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
                // The signal may take a moment; nothing may happen in it.
                loop {
                    std::thread::park();
                }
            }
        };
        fail_parallel::cfg_callback(registry.clone(), point, die).unwrap();
    }
    let settings = Settings {
        starting_offsets: "earliest".to_string(),
        max_offsets_per_trigger: 15,
        trigger: "0 seconds".to_string(),
        drivers_trigger: "0 seconds".to_string(),
        ..Settings::new(&variable(BROKERS), &variable(LOCATION))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = pipelines::session()
            .config("tidemill.device", "cpu")
            // Snapshots and deltas both, within the few batches of a run.
            .config("spark.sql.streaming.stateStore.minDeltasForSnapshot", 3)
            .config("spark.sql.streaming.minBatchesToRetain", 4)
            .fail_points(FailPoints::new(registry))
            .build()
            .await
            .unwrap();
        let writer = match variable(CHILD).as_str() {
            "city" => pipelines::city_rides(&session, &settings).await.unwrap(),
            "drivers" => pipelines::driver_metrics(&session, &settings).await.unwrap(),
            "pickups" => join::pickups(&session, &settings).await.unwrap(),
            other => panic!("no query {other:?}"),
        };
        let query = writer.trigger(Trigger::AvailableNow).start().await.unwrap();
        query.await_termination().await.unwrap();
    });
}
