//! The case format, for people: settings, then steps. A step adds input and says what it leads to.
//!
//! ```text
//! mode: append                    output mode
//! watermark: 10 seconds           delay; several inputs are separated by |
//! window: 5 seconds               duration of the tumbling window that rows are counted by
//! conf: key=value                 a session setting (optional, repeatable)
//!
//! in: 10 11 | 60                  event times in seconds after 2024-01-01T00:00:00Z; | separates inputs, an empty one adds nothing
//! queued: 100 ; 1 ; 2             instead of in: files that lie there before the query starts
//! rows: 10 5 | 15 1               new rows (complete mode: the table): window start and count
//! batches: 0 1                    batches that ran
//! watermark: 5                    seconds, after the step; state: groups kept; dropped: late groups of the step
//! ```

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tidemill::prelude::*;

/// 2024-01-01T00:00:00Z in seconds.
const EPOCH: i64 = 1_704_067_200;

#[derive(Debug, Default)]
pub struct Case {
    mode: String,
    delays: Vec<String>,
    window: String,
    conf: Vec<(String, String)>,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct Step {
    queued: bool,
    /// Event times by input and file.
    inputs: Vec<Vec<Vec<i64>>>,
    rows: Vec<(i64, i64)>,
    batches: Vec<u64>,
    watermark: i64,
    state: u64,
    dropped: u64,
}

fn numbers(text: &str) -> Vec<i64> {
    text.split_whitespace().map(|n| n.parse().unwrap_or_else(|_| panic!("{n:?} is not a number"))).collect()
}

impl Case {
    pub fn read(path: &Path) -> Self {
        let mut case = Case::default();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} has no colon"));
            let value = value.trim();
            let Some(step) = case.steps.last_mut().filter(|_| key != "in" && key != "queued") else {
                match key {
                    "mode" => case.mode = value.to_string(),
                    "watermark" => case.delays = value.split('|').map(|d| d.trim().to_string()).collect(),
                    "window" => case.window = value.to_string(),
                    "conf" => {
                        let (key, value) = value.split_once('=').unwrap();
                        case.conf.push((key.to_string(), value.to_string()));
                    }
                    "in" => case.steps.push(Step {
                        inputs: value.split('|').map(|input| vec![numbers(input)]).collect(),
                        ..Step::default()
                    }),
                    "queued" => case.steps.push(Step {
                        queued: true,
                        inputs: vec![value.split(';').map(numbers).collect()],
                        ..Step::default()
                    }),
                    other => panic!("unknown setting {other:?}"),
                }
                continue;
            };
            match key {
                "rows" => {
                    let pair = |row: &str| match numbers(row).as_slice() {
                        [start, count] => (*start, *count),
                        other => panic!("{other:?} is not a window start and a count"),
                    };
                    step.rows = value.split('|').map(pair).collect();
                }
                "batches" => step.batches = numbers(value).into_iter().map(|n| n as u64).collect(),
                "watermark" => step.watermark = value.parse().unwrap(),
                "state" => step.state = value.parse().unwrap(),
                "dropped" => step.dropped = value.parse().unwrap(),
                other => panic!("unknown expectation {other:?}"),
            }
        }
        assert!(!case.steps.is_empty(), "{} has no steps", path.display());
        case
    }

    /// Runs the case; the error says what differs.
    pub async fn run(&self, device: &str) -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        let inputs: Vec<PathBuf> = (0..self.delays.len()).map(|i| directory.path().join(format!("in{i}"))).collect();
        inputs.iter().for_each(|input| std::fs::create_dir(input).unwrap());
        let mut files = Files { written: 0 };
        let mut builder = Session::builder().config("tidemill.device", device).config("tidemill.workers", 2);
        for (key, value) in &self.conf {
            builder = builder.config(key, value);
        }
        let session = builder.build().await.map_err(|e| e.to_string())?;
        let frame = self.frame(&session, &inputs).await.map_err(|e| e.to_string())?;
        let table = MemoryTable::new(Some("out")).unwrap();
        let mut query: Option<StreamingQuery> = None;
        let mut seen_rows = 0;
        let mut seen_progress = 0;
        for (number, step) in self.steps.iter().enumerate() {
            for (input, contents) in inputs.iter().zip(&step.inputs) {
                contents.iter().filter(|times| !times.is_empty()).for_each(|times| files.write(input, times));
            }
            let running = match &query {
                Some(running) => running,
                None => {
                    assert!(step.queued || number == 0);
                    let started = frame.write_stream().output_mode(self.mode.as_str()).query_name("out").table(&table);
                    query.insert(started.start().await.map_err(|e| e.to_string())?)
                }
            };
            running.process_all_available().await.map_err(|e| e.to_string())?;
            let rows = counted(&table);
            let new_rows = if self.mode == "complete" { rows.clone() } else { rows[seen_rows..].to_vec() };
            seen_rows = rows.len();
            let progress = running.recent_progress();
            let new = &progress[seen_progress..];
            seen_progress = progress.len();
            let operator = |p: &tidemill::progress::StreamingQueryProgress| p.state_operators[0].clone();
            let found = (
                new_rows,
                new.iter().map(|p| p.batch_id).collect::<Vec<_>>(),
                new.last().map(|p| operator(p).num_rows_total),
                new.iter().map(|p| operator(p).num_rows_dropped_by_watermark).sum::<u64>(),
            );
            let expected = (step.rows.clone(), step.batches.clone(), Some(step.state), step.dropped);
            if found != expected {
                return Err(format!(
                    "step {number}: (rows, batches, state, dropped) = {found:?}, expected {expected:?}"
                ));
            }
            // The watermark in force in the last batch that ran; cases end their steps where it has settled.
            let watermark =
                new.last().and_then(|p| p.watermark_ms()).map(|ms| if ms == 0 { 0 } else { ms / 1000 - EPOCH });
            if watermark != Some(step.watermark) {
                return Err(format!("step {number}: watermark {watermark:?}, expected {}", step.watermark));
            }
        }
        query.unwrap().stop().await;
        Ok(())
    }

    async fn frame(&self, session: &Session, inputs: &[PathBuf]) -> Result<DataFrame, Error> {
        let mut union: Option<DataFrame> = None;
        for (input, delay) in inputs.iter().zip(&self.delays) {
            let events = session
                .read_stream()
                .format("json")
                .schema("t TIMESTAMP")
                .option("maxFilesPerTrigger", 1)
                .load_path(&input.to_string_lossy())
                .await?
                .with_watermark("t", delay)?;
            union = Some(match union {
                None => events,
                Some(before) => before.union(&events)?,
            });
        }
        union.unwrap().group_by([window(col("t"), &self.window)])?.count()
    }
}

struct Files {
    written: u64,
}

impl Files {
    /// Writes a file that appears whole and is newer than every one before it.
    fn write(&mut self, directory: &Path, times: &[i64]) {
        self.written += 1;
        let hidden = directory.join(format!("_{:05}", self.written));
        let lines: String = times.iter().map(|t| format!("{{\"t\":{}}}\n", EPOCH + t)).collect();
        std::fs::write(&hidden, lines).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH as u64 + self.written);
        std::fs::File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&hidden, directory.join(format!("{:05}.json", self.written))).unwrap();
    }
}

fn counted(table: &MemoryTable) -> Vec<(i64, i64)> {
    let mut rows = Vec::new();
    for batch in table.rows() {
        let starts = batch.column(0).as_struct().column(0).as_primitive::<TimestampMicrosecondType>().clone();
        let counts = batch.column(1).as_primitive::<Int64Type>().clone();
        rows.extend((0..batch.num_rows()).map(|r| (starts.value(r) / 1_000_000 - EPOCH, counts.value(r))));
        assert_eq!(starts.null_count(), 0);
    }
    rows
}
