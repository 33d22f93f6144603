//! Our side of the comparison with other engines: `run.sh` has the whole of it.
//!
//! Comes in: `generate DIRECTORY EVENTS FILES`, or `run DIRECTORY RUNS`. Goes out: files of ride events, or the seconds of
//! each run from the start of the query to its end, checkpoint included, and on standard error where they went.
//! Fails: files that cannot be read or written, and whatever the query fails with.

#[path = "../rides/mod.rs"]
mod rides;

use rides::{city_metrics, drain, events, write_files};
use std::path::Path;
use std::time::Instant;
use tidemill::prelude::*;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["generate", directory, events, files] => write_files(Path::new(directory), events.parse()?, files.parse()?)?,
        ["run", directory, runs] => {
            let runs: usize = runs.parse()?;
            tokio::runtime::Runtime::new()?.block_on(run(Path::new(directory), runs))?;
        }
        // A plain `cargo bench` comes here.
        _ => println!("benches/peers/run.sh runs the comparison"),
    }
    Ok(())
}

async fn run(input: &Path, runs: usize) -> Result<(), Failure> {
    let session = Session::builder().config("tidemill.device", "cpu").build().await?;
    for _ in 0..runs {
        let checkpoint = tempfile::tempdir()?;
        let started = Instant::now();
        let frame = city_metrics(events(&session, input, None).await?)?;
        let (query, _) = drain(frame, Update, checkpoint.path()).await?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{seconds:.3}");
        for batch in query.recent_progress() {
            eprintln!(
                "batch {}: {} events, {} {}",
                batch.batch_id,
                batch.num_input_rows,
                serde_json::json!(batch.duration_ms),
                serde_json::json!(batch.stage_duration_ms)
            );
        }
    }
    Ok(())
}
