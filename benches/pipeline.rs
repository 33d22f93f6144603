//! How fast whole queries run: JSON files in, durable checkpoint on local disk, rows counted by the sink.
//!
//! `cargo bench --bench pipeline`. Three figures: events per second of the city query (in one batch and in several) and of a query without
//! state, and batches per second where a batch is ten events, which is the cost of planning, logging and committing.

mod rides;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use rides::{city_metrics, drain, events, expensive_rides, write_files};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};
use tidemill::prelude::*;
use tokio::runtime::Runtime;

const EVENTS: usize = 1_000_000;
const FILES: usize = 10;
const SMALL_BATCHES: usize = 40;

type Query = fn(DataFrame) -> Result<DataFrame, Error>;

/// Input files, and everything that runs queries over them.
struct Bench {
    runtime: Runtime,
    session: Session,
    input: TempDir,
}

impl Bench {
    fn new(events: usize, files: usize) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let session = runtime.block_on(Session::builder().config("tidemill.device", "cpu").build()).expect("a session");
        let input = tempdir().expect("a directory");
        write_files(input.path(), events, files).expect("the events are written");
        Self { runtime, session, input }
    }

    /// The time from start to end of `runs` runs, each on a checkpoint of its own.
    fn time(&self, runs: u64, files_a_batch: Option<usize>, query: Query, mode: OutputMode) -> Duration {
        let mut time = Duration::ZERO;
        for _ in 0..runs {
            let checkpoint = tempdir().expect("a directory");
            let started = Instant::now();
            let rows =
                self.runtime.block_on(self.run(files_a_batch, query, mode, checkpoint.path())).expect("the query ends");
            time += started.elapsed();
            assert!(rows > 0);
        }
        time
    }

    async fn run(&self, files_a_batch: Option<usize>, query: Query, mode: OutputMode, to: &Path) -> Result<u64, Error> {
        let frame = query(events(&self.session, self.input.path(), files_a_batch).await?)?;
        drain(frame, mode, to).await.map(|(_, rows)| rows)
    }
}

fn throughput(criterion: &mut Criterion) {
    let bench = Bench::new(EVENTS, FILES);
    let mut group = criterion.benchmark_group("pipeline");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(EVENTS as u64));
    let cases: [(&str, Option<usize>, Query, OutputMode); 3] = [
        ("city metrics, one batch", None, city_metrics, Update),
        ("city metrics, five batches", Some(2), city_metrics, Update),
        ("filter and project", None, expensive_rides, Append),
    ];
    for (name, files_a_batch, query, mode) in cases {
        group.bench_function(name, |bencher| bencher.iter_custom(|runs| bench.time(runs, files_a_batch, query, mode)));
    }
    group.finish();
}

fn small_batches(criterion: &mut Criterion) {
    let bench = Bench::new(10 * SMALL_BATCHES, SMALL_BATCHES);
    let mut group = criterion.benchmark_group("batches of ten events");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(SMALL_BATCHES as u64));
    let cases: [(&str, Query, OutputMode); 2] =
        [("city metrics", city_metrics, Update), ("filter and project", expensive_rides, Append)];
    for (name, query, mode) in cases {
        group.bench_function(name, |bencher| bencher.iter_custom(|runs| bench.time(runs, Some(1), query, mode)));
    }
    group.finish();
}

criterion_group!(benches, throughput, small_batches);
criterion_main!(benches);
