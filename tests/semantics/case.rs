//! The case format, for people: a query, then steps. A step adds input and says what it leads to. `README.md` beside this file has an
//! example, and `on_spark.py` runs the same files on Spark.
//!
//! ```text
//! mode: append                    output mode
//! watermark: 10 seconds           delay of each source's watermark, sources separated by |; none for a source without,
//!                                 `same, 5 seconds` for the source before once more, under another watermark
//! table: 10:a 20:b                rows of a table, which is the right side of a join (optional)
//! query: count by window(5 seconds), k
//! conf: key=value                 a session setting (optional, repeatable)
//! spark: words                    where Spark answers otherwise: how (optional)
//!
//! in: 10:a 11:b:7 | 60            events of each source as time:k:v:g; an empty source adds nothing
//! queued: 100 ; 1 ; 2             instead of in: files that lie there before the query starts
//! rows: 10 5 | 15 1               new rows (complete mode: the table), in any order unless the query sorts
//! batches: 0 1                    batches that ran
//! watermark: 5                    after the step; none without a watermark
//! state: 2                        rows in state, of the operator nearest to the sink first
//! dropped: 1                      late rows of the step (all operators together); 0 unless said
//! input: 2                        rows that the sources say they have read (optional)
//! fails: words                    instead of all that: the query ends with an error that says this
//! ```
//!
//! Sources have the columns `t TIMESTAMP, k STRING, v BIGINT, g STRING`; what an event leaves out is "", 1 and NULL, and `null` stands for NULL.
//! Times are seconds after 2024-01-01T00:00:00Z. A window shows as its start, a session as start and end.
//!
//! A query is a chain of operations, separated by ` > `; several sources are united first, unless the first operation joins them:
//!
//! ```text
//! join TYPE on CONDITION          of two sources, or of one and the table; columns of the right side are t2, k2, v2, g2
//! count by KEY, ...               a key is a column, window(duration[, slide[, start]]) or session(gap), where a gap is an interval or a column
//! agg sum v, count by KEY, ...    sum, min, max, avg, count, approx_count_distinct, collect_list of columns; count alone counts rows
//! dedupe COLUMN, ...              drop_duplicates; dedupeWithinWatermark likewise
//! select EXPRESSION, ...          where CONDITION         with NAME = EXPRESSION
//! sort COLUMN, ...                limit 3                 offset 3
//! watermark COLUMN DELAY          with_watermark
//! ```
//! `window` goes by the column t, above another aggregation by its window. Conditions and expressions are SQL; as ` > ` ends an operation, they
//! compare by `<`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidemill::prelude::*;
use tidemill::progress::StreamingQueryProgress;

/// 2024-01-01T00:00:00Z in microseconds.
const EPOCH: i64 = 1_704_067_200_000_000;

const COLUMNS: &str = "t TIMESTAMP, k STRING, v BIGINT, g STRING";

#[derive(Debug, Default)]
pub struct Case {
    mode: String,
    delays: Vec<String>,
    table: Vec<String>,
    query: Vec<String>,
    conf: Vec<(String, String)>,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct Step {
    queued: bool,
    /// Lines by source and file.
    inputs: Vec<Vec<Vec<String>>>,
    rows: Vec<String>,
    batches: Vec<u64>,
    watermark: Option<String>,
    state: Vec<u64>,
    dropped: u64,
    input: Option<u64>,
    fails: Option<String>,
}

/// How a case is run.
#[derive(Clone, Copy, Default)]
pub struct How<'a> {
    pub device: &'a str,
    /// Stops the query after every step, so that the next one goes on from the checkpoint.
    pub restarts: bool,
    /// A fail point and how often it is passed before it fails in every start.
    pub fault: Option<(&'a str, usize)>,
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|n| n.parse().unwrap_or_else(|_| panic!("{n:?} is not a number"))).collect()
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect()
}

/// One event as a line of JSON.
fn event(text: &str) -> String {
    let mut parts = text.split(':');
    let time = parts.next().unwrap_or_default();
    let mut line = serde_json::Map::new();
    if time != "null" {
        let seconds: f64 = time.parse().unwrap_or_else(|_| panic!("{text:?} does not begin with a time"));
        let instant = chrono::DateTime::from_timestamp_micros(EPOCH + (seconds * 1e6).round() as i64).unwrap();
        line.insert("t".into(), instant.to_rfc3339_opts(chrono::SecondsFormat::Micros, true).into());
    }
    match parts.next().unwrap_or_default() {
        "null" => {}
        key => drop(line.insert("k".into(), key.into())),
    }
    match parts.next().unwrap_or("1") {
        "null" => {}
        value => drop(line.insert("v".into(), value.parse::<i64>().unwrap().into())),
    }
    match parts.next() {
        None | Some("null") => {}
        Some(gap) => drop(line.insert("g".into(), gap.replace('_', " ").into())),
    }
    serde_json::Value::Object(line).to_string()
}

fn events(text: &str) -> Vec<String> {
    text.split_whitespace().map(event).collect()
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
                    "query" => case.query = value.split(" > ").map(|o| o.trim().to_string()).collect(),
                    "table" => case.table = events(value),
                    "spark" => {}
                    "conf" => {
                        let (key, value) = value.split_once('=').unwrap();
                        case.conf.push((key.to_string(), value.to_string()));
                    }
                    "in" => case.steps.push(Step {
                        inputs: value.split('|').map(|input| vec![events(input)]).collect(),
                        ..Step::default()
                    }),
                    "queued" => case.steps.push(Step {
                        queued: true,
                        inputs: vec![value.split(';').map(events).collect()],
                        ..Step::default()
                    }),
                    other => panic!("unknown setting {other:?}"),
                }
                continue;
            };
            match key {
                "rows" => {
                    let row = |row: &str| row.split_whitespace().collect::<Vec<_>>().join(" ");
                    step.rows = value.split('|').map(row).collect();
                }
                "batches" => step.batches = numbers(value),
                "watermark" => step.watermark = (value != "none").then(|| value.to_string()),
                "state" => step.state = numbers(value),
                "dropped" => step.dropped = value.parse().unwrap(),
                "input" => step.input = Some(value.parse().unwrap()),
                "fails" => step.fails = Some(value.to_string()),
                other => panic!("unknown expectation {other:?}"),
            }
        }
        assert!(!case.steps.is_empty(), "{} has no steps", path.display());
        assert!(!case.query.is_empty(), "{} has no query", path.display());
        case
    }

    /// Runs the case; the error says what differs.
    pub async fn run(&self, how: How<'_>) -> Result<(), String> {
        let place = tempfile::tempdir().unwrap();
        let sources = self.delays.iter().filter(|delay| !delay.starts_with("same,")).count();
        let inputs: Vec<PathBuf> = (0..sources).map(|i| place.path().join(format!("in{i}"))).collect();
        inputs.iter().for_each(|input| std::fs::create_dir(input).unwrap());
        let checkpoint = place.path().join("checkpoint");
        let mut files = Files { written: 0 };
        if !self.table.is_empty() {
            std::fs::create_dir(place.path().join("table")).unwrap();
            files.write(&place.path().join("table"), &self.table);
        }
        let table = MemoryTable::new(Some("out")).unwrap();
        let mut query: Option<StreamingQuery> = None;
        let (mut seen_rows, mut seen_progress) = (0, 0);
        for (number, step) in self.steps.iter().enumerate() {
            // Files of two sources make one batch only if no batch begins between them.
            if step.inputs.iter().filter(|files| files.iter().any(|lines| !lines.is_empty())).count() > 1
                && let Some(running) = query.take()
            {
                running.stop().await;
                seen_progress = 0;
            }
            for (input, contents) in inputs.iter().zip(&step.inputs) {
                contents.iter().filter(|lines| !lines.is_empty()).for_each(|lines| files.write(input, lines));
            }
            assert!(!step.queued || number == 0);
            if how.fault.is_some() {
                match (self.through_faults(how, &inputs, &table, &checkpoint).await, &step.fails) {
                    (Err(error), Some(words)) if error.contains(words) => break,
                    (outcome, _) => outcome?,
                }
                continue;
            }
            if query.is_none() {
                match (self.start(how, &inputs, &table, &checkpoint).await, &step.fails) {
                    (Err(error), Some(words)) if error.message().contains(words.as_str()) => return Ok(()),
                    (started, _) => query = Some(started.map_err(|e| e.to_string())?),
                }
            }
            let Some(running) = &query else { unreachable!("it was started") };
            let ended = running.process_all_available().await;
            if let Some(words) = &step.fails {
                return match ended {
                    Err(error) if error.message().contains(words.as_str()) => Ok(()),
                    other => Err(format!("step {number}: {other:?}, expected a failure that says {words:?}")),
                };
            }
            ended.map_err(|e| e.to_string())?;
            let rows = texts(&table);
            let new_rows = if self.mode == "complete" { rows.clone() } else { rows[seen_rows..].to_vec() };
            seen_rows = rows.len();
            let progress = running.recent_progress();
            let mut found = Found::of(self.in_order(new_rows), &progress[seen_progress..]);
            found.input = found.input.filter(|_| step.input.is_some());
            seen_progress = progress.len();
            let expected = Found {
                rows: self.in_order(step.rows.clone()),
                batches: step.batches.clone(),
                state: step.state.clone(),
                dropped: step.dropped,
                input: step.input,
                watermark: step.watermark.clone(),
            };
            if found != expected {
                return Err(format!("step {number}:\n  found    {found:?}\n  expected {expected:?}"));
            }
            if how.restarts
                && let Some(running) = query.take()
            {
                running.stop().await;
                seen_progress = 0;
            }
        }
        if let Some(running) = query {
            running.stop().await;
        }
        if how.fault.is_none() {
            return Ok(());
        }
        let last = if self.mode == "complete" { self.steps.len() - 1 } else { 0 };
        let expected = self.in_order(self.steps[last..].iter().flat_map(|step| step.rows.clone()).collect());
        match self.in_order(texts(&table)) {
            found if found == expected => Ok(()),
            found => Err(format!("{:?}: rows {found:?}, expected {expected:?}", how.fault)),
        }
    }

    /// Works off what is there, with a failure in every start but the last.
    async fn through_faults(
        &self,
        how: How<'_>,
        inputs: &[PathBuf],
        table: &MemoryTable,
        checkpoint: &Path,
    ) -> Result<(), String> {
        let mut here = how;
        for _ in 0..40 {
            let outcome = match self.start(here, inputs, table, checkpoint).await {
                Ok(query) => {
                    let outcome = query.process_all_available().await;
                    query.stop().await;
                    outcome
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if error.message().contains("fail point") => {
                    // The next start gets further, or the one after it.
                    here.fault = here.fault.map(|(point, passes)| (point, passes + 1));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("{:?}: no start gets further", how.fault))
    }

    fn in_order(&self, mut rows: Vec<String>) -> Vec<String> {
        if !self.query.iter().any(|operation| operation.starts_with("sort")) {
            rows.sort();
        }
        rows
    }

    async fn start(
        &self,
        how: How<'_>,
        inputs: &[PathBuf],
        table: &MemoryTable,
        checkpoint: &Path,
    ) -> Result<StreamingQuery, Error> {
        let mut builder = Session::builder().config("tidemill.device", how.device).config("tidemill.workers", 2);
        #[cfg(feature = "failpoints")]
        if let Some((point, passes)) = how.fault {
            let registry = Arc::new(fail_parallel::FailPointRegistry::new());
            let action = if passes == 0 { "return(here)".to_string() } else { format!("{passes}*off->return(here)") };
            fail_parallel::cfg(registry.clone(), point, &action).unwrap();
            builder = builder.fail_points(tidemill::checkpoint::FailPoints::new(registry));
        }
        for (key, value) in &self.conf {
            builder = builder.config(key, value);
        }
        let session = builder.build().await?;
        let frame = self.frame(&session, inputs, &checkpoint.with_file_name("table")).await?;
        let writer = frame.write_stream().output_mode(self.mode.as_str()).query_name("out");
        writer.option("checkpointLocation", checkpoint.to_string_lossy().as_ref()).table(table).start().await
    }

    async fn frame(&self, session: &Session, inputs: &[PathBuf], table: &Path) -> Result<DataFrame, Error> {
        let mut sources: Vec<DataFrame> = Vec::new();
        let mut last: Option<DataFrame> = None;
        let mut inputs = inputs.iter();
        for delay in &self.delays {
            let (again, delay) = match delay.strip_prefix("same,") {
                Some(delay) => (last.take(), delay.trim()),
                None => (None, delay.as_str()),
            };
            let events = match again {
                Some(events) => events,
                None => {
                    let input = inputs.next().expect("a directory for each source");
                    let reader = session.read_stream().format("json").schema(COLUMNS).option("maxFilesPerTrigger", 1);
                    reader.load_path(&input.to_string_lossy()).await?
                }
            };
            last = Some(events.clone());
            sources.push(if delay == "none" { events } else { events.with_watermark("t", delay)? });
        }
        let mut operations = self.query.iter();
        let mut sources = sources.into_iter();
        let mut frame = sources.next().expect("a source");
        match self.query[0].strip_prefix("join ") {
            Some(join) => {
                operations.next();
                let right = match sources.next() {
                    Some(right) => right,
                    None => session.read().format("json").schema(COLUMNS).load_path(&table.to_string_lossy()).await?,
                };
                let right = right.select(["t AS t2", "k AS k2", "v AS v2", "g AS g2"].map(expr))?;
                let (join_type, condition) = join.split_once(" on ").expect("join TYPE on CONDITION");
                frame = frame.join(&right, expr(condition), join_type.trim())?;
            }
            None => {
                for other in sources {
                    frame = frame.union(&other)?;
                }
            }
        }
        for operation in operations {
            frame = operate(&frame, operation)?;
        }
        Ok(frame)
    }
}

/// What a step led to.
#[derive(Debug, PartialEq)]
struct Found {
    rows: Vec<String>,
    batches: Vec<u64>,
    state: Vec<u64>,
    dropped: u64,
    input: Option<u64>,
    /// In force in the last batch that ran; cases end their steps where it has settled.
    watermark: Option<String>,
}

impl Found {
    fn of(rows: Vec<String>, progress: &[Arc<StreamingQueryProgress>]) -> Self {
        let last = progress.last();
        let operators = |p: &Arc<StreamingQueryProgress>| p.state_operators.clone();
        let watermark = last.and_then(|p| p.watermark_ms()).map(|ms| if ms == 0 { 0 } else { ms * 1000 - EPOCH });
        Self {
            rows,
            batches: progress.iter().map(|p| p.batch_id).collect(),
            state: last.map_or(vec![], |p| operators(p).iter().map(|o| o.num_rows_total).collect()),
            dropped: progress.iter().flat_map(operators).map(|o| o.num_rows_dropped_by_watermark).sum(),
            input: Some(progress.iter().map(|p| p.num_input_rows).sum()),
            watermark: watermark.map(|micros| (micros as f64 / 1e6).to_string()),
        }
    }
}

fn operate(frame: &DataFrame, operation: &str) -> Result<DataFrame, Error> {
    let (verb, rest) = operation.split_once(' ').unwrap_or((operation, ""));
    let names = list(rest);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match verb {
        "count" | "agg" => {
            let (calls, keys) = rest.rsplit_once("by ").unwrap_or((rest, ""));
            let calls = list(calls);
            let calls = match verb {
                "count" => vec![count_all().alias("count")],
                _ => calls.iter().map(|call| aggregate(call)).collect(),
            };
            let keys: Vec<Column> = parts_of(keys).iter().map(|key| key_of(frame, key)).collect();
            frame.group_by(keys)?.agg(calls)
        }
        "dedupe" => frame.drop_duplicates(&names),
        "dedupeWithinWatermark" => frame.drop_duplicates_within_watermark(&names),
        "select" => frame.select(parts_of(rest).iter().map(|text| expr(text))),
        "where" => frame.filter(expr(rest)),
        "with" => {
            let (name, value) = rest.split_once(" = ").expect("with NAME = EXPRESSION");
            frame.with_column(name.trim(), expr(value))
        }
        "watermark" => {
            let (column, delay) = rest.split_once(' ').expect("watermark COLUMN DELAY");
            frame.with_watermark(column, delay)
        }
        "limit" => Ok(frame.limit(rest.parse().unwrap())),
        "offset" => Ok(frame.offset(rest.parse().unwrap())),
        "sort" => {
            let keys = names.iter().map(|name| datafusion::prelude::col(*name).sort(true, true));
            frame.sort(keys.collect::<Vec<_>>())
        }
        other => panic!("unknown operation {other:?}"),
    }
}

fn aggregate(call: &str) -> Column {
    match call.split_once(' ') {
        None if call == "count" => count_all(),
        Some(("sum", column)) => sum(column),
        Some(("min", column)) => min(column),
        Some(("max", column)) => max(column),
        Some(("avg", column)) => avg(column),
        Some(("count", column)) => count(column),
        Some(("collect_list", column)) => collect_list(column),
        Some(("approx_count_distinct", column)) => approx_count_distinct(column),
        _ => panic!("unknown aggregate {call:?}"),
    }
}

/// What stands between commas outside parentheses.
fn parts_of(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in text.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    parts.into_iter().map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect()
}

fn key_of(frame: &DataFrame, key: &str) -> Column {
    let Some((kind, arguments)) = key.strip_suffix(')').and_then(|key| key.split_once('(')) else { return col(key) };
    let arguments = list(arguments);
    let below = ["window", "session_window"].into_iter().find(|name| frame.schema().column_with_name(name).is_some());
    let time = below.unwrap_or("t");
    match (kind, arguments.as_slice()) {
        ("window", [duration]) => window(time, duration),
        ("window", [duration, slide]) => window_sliding(time, duration, slide),
        ("window", [duration, slide, start]) => window_from(time, duration, slide, start),
        ("session", [gap]) if gap.contains(' ') => session_window(time, gap.as_str()),
        ("session", [gap]) => session_window(time, col(gap)),
        _ => panic!("unknown key {key:?}"),
    }
}

struct Files {
    written: u64,
}

impl Files {
    /// Writes a file that appears whole and is newer than every one before it.
    fn write(&mut self, directory: &Path, lines: &[String]) {
        self.written += 1;
        let hidden = directory.join(format!("_{:05}", self.written));
        std::fs::write(&hidden, lines.join("\n") + "\n").unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH as u64 / 1_000_000 + self.written);
        std::fs::File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&hidden, directory.join(format!("{:05}.json", self.written))).unwrap();
    }
}

fn texts(table: &MemoryTable) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in table.rows() {
        for row in 0..batch.num_rows() {
            let columns =
                batch.schema().fields().iter().zip(batch.columns()).map(|(f, c)| cell(f.name(), c, row)).collect();
            let columns: Vec<String> = columns;
            rows.push(columns.join(" "));
        }
    }
    rows
}

fn cell(name: &str, column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".to_string();
    }
    match column.data_type() {
        DataType::Struct(_) => {
            let window = column.as_struct();
            let start = cell("start", window.column(0), row);
            match name {
                "session_window" => format!("{start} {}", cell("end", window.column(1), row)),
                _ => start,
            }
        }
        DataType::Timestamp(_, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row) - EPOCH;
            (micros as f64 / 1e6).to_string()
        }
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Utf8 => match column.as_string::<i32>().value(row) {
            "" => "''".to_string(),
            text => text.to_string(),
        },
        DataType::List(_) => {
            let values = column.as_list::<i32>().value(row);
            let values: Vec<String> = (0..values.len()).map(|value| cell("", &values, value)).collect();
            format!("[{}]", values.join(","))
        }
        other => panic!("a case does not show {other}"),
    }
}
