//! What a program sees that brings its own sources, sinks and functions, and several sessions.

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::logical_expr::{Expr, Volatility, create_udf};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemill::prelude::*;
use tidemill::sink::{Prepared, Settled, Sink, Writer};
use tidemill::source::provider::SourceProvider;
use tidemill::source::{Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source};
use uuid::Uuid;

type Result<T> = tidemill::Result<T>;

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").config("tidemill.workers", 2).build().await.unwrap()
}

/// Rows of one column, `n`.
pub fn numbers(values: &[i64]) -> RecordBatch {
    let column: Arc<dyn Array> = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap()
}

/// A function that panics when it is given rows.
pub fn panicking_udf(argument: Column) -> Column {
    let from = vec![DataType::Int64];
    let udf = create_udf("explode", from, DataType::Int64, Volatility::Immutable, Arc::new(|_| panic!("a udf")));
    Column::from(udf.call(vec![Expr::try_from(argument).unwrap()]))
}

/// The numbers 0, 1 and 2, one a chunk; panics in the call that it is told.
#[derive(Debug, Clone)]
struct Faulty(&'static str);

impl Faulty {
    fn reach(&self, call: &str) {
        assert!(self.0 != call, "a source's {call}");
    }
}

impl SourceProvider for Faulty {
    fn describe(&self) -> String {
        "faulty".to_string()
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Source for Faulty {
    fn schema(&self) -> SchemaRef {
        numbers(&[]).schema()
    }

    fn description(&self) -> String {
        "Faulty".to_string()
    }

    async fn check(&mut self) -> Result<()> {
        self.reach("check");
        Ok(())
    }

    async fn initial(&mut self) -> Result<Offset> {
        self.reach("initial");
        Ok(0.into())
    }

    async fn propose(&mut self, _: &Offset, _: Admission) -> Result<Proposal> {
        self.reach("propose");
        Ok(Proposal { end: 3.into(), latest: 3.into() })
    }

    async fn freeze(&mut self) -> Result<()> {
        Ok(())
    }

    async fn read(&mut self, _: &Offset, _: &Offset, _: &ReadRequest) -> Result<Box<dyn Chunks>> {
        self.reach("read");
        Ok(Box::new(Counting(self.clone(), 0)))
    }

    async fn commit(&mut self, _: &Offset) -> Result<()> {
        self.reach("commit");
        Ok(())
    }
}

struct Counting(Faulty, i64);

impl Chunks for Counting {
    fn next(&mut self) -> Result<Option<Chunk>> {
        self.1 += 1;
        if self.1 == 3 {
            self.0.reach("next");
        }
        let row = self.1 - 1;
        Ok((row < 3).then(|| Chunk::Columns { batch: numbers(&[row]), origin: Origin::Process }))
    }
}

/// Keeps the rows of every batch, and fails once in the call that it is told: by an error, or by a panic.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    staged: Vec<(Uuid, Vec<i64>)>,
    published: BTreeMap<u64, (Uuid, Vec<i64>)>,
    fails: Option<&'static str>,
    panics: bool,
}

impl Ledger {
    fn failing(call: &'static str, panics: bool) -> Self {
        Self(Arc::new(Mutex::new(Book { fails: Some(call), panics, ..Book::default() })))
    }

    fn reach(&self, call: &str) -> Result<()> {
        let (fails, panics) = {
            let mut book = self.0.lock();
            (book.fails.take_if(|failing| *failing == call).is_some(), book.panics)
        };
        assert!(!(fails && panics), "a sink's {call}");
        if fails { Err(Error::new(ErrorCode::UserCode, format!("no {call}"))) } else { Ok(()) }
    }

    fn rows(&self) -> Vec<(u64, Vec<i64>)> {
        self.0.lock().published.iter().map(|(batch, (_, rows))| (*batch, rows.clone())).collect()
    }
}

#[async_trait]
impl Sink for Ledger {
    fn description(&self) -> String {
        "Ledger".to_string()
    }

    async fn open(&mut self, _: &Writer) -> Result<()> {
        self.reach("open")
    }

    async fn stage(&mut self, _: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        self.reach("stage")?;
        let rows = rows.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec());
        self.0.lock().staged.push((attempt, rows.collect()));
        Ok(serde_json::Value::Null)
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        self.reach("publish")?;
        {
            let mut book = self.0.lock();
            let (attempt, rows) = book.staged.pop().unwrap();
            assert_eq!(attempt, prepared.attempt);
            assert!(book.published.insert(prepared.batch, (attempt, rows)).is_none(), "a batch twice");
        }
        self.reach("published")
    }

    async fn settle(&mut self, prepared: &Prepared) -> Result<Settled> {
        let there = self.0.lock().published.get(&prepared.batch).is_some_and(|(by, _)| *by == prepared.attempt);
        Ok(if there { Settled::Published } else { Settled::Absent })
    }
}

async fn run(frame: &DataFrame, checkpoint: &tempfile::TempDir, sink: Box<dyn Sink>) -> Result<()> {
    let place = checkpoint.path().to_string_lossy().into_owned();
    let writer = frame.write_stream().query_name("q").trigger(Trigger::AvailableNow);
    writer.option("checkpointLocation", place).sink(sink).start().await?.await_termination().await
}

/// The query ends with the words of the panic, its name is free again, and the next start runs the batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_source_is_a_failure_of_its_query() {
    let session = session().await;
    let calls = [
        ("check", "[INTERNAL_ERROR] the start panicked: a source's check"),
        ("initial", "[INTERNAL_ERROR] the start panicked: a source's initial"),
        ("propose", "[INTERNAL_ERROR] the query panicked: a source's propose"),
        ("read", "[INTERNAL_ERROR] the query panicked: a source's read"),
        ("next", "[INTERNAL_ERROR] a worker panicked: a source's next"),
        ("commit", "[INTERNAL_ERROR] the query panicked: a source's commit"),
    ];
    for (call, words) in calls {
        let (checkpoint, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
        let faulty = DataFrame::from_source(&session, Arc::new(Faulty(call))).unwrap();
        let error = run(&faulty, &checkpoint, Box::new(ledger.clone())).await.unwrap_err();
        assert!(error.to_string().ends_with(words), "{call}: {error}");
        assert!(session.streams().active().is_empty());
        let sound = DataFrame::from_source(&session, Arc::new(Faulty("nothing"))).unwrap();
        run(&sound, &checkpoint, Box::new(ledger.clone())).await.unwrap();
        let mut rows = ledger.rows();
        rows.iter_mut().for_each(|(_, rows)| rows.sort());
        assert_eq!(rows, [(0, vec![0, 1, 2])], "{call}");
    }
}

/// A batch that a sink failed on is run again at the next start, unless the sink says that it has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_a_sink_failed_on_comes_again_and_is_there_once() {
    let session = session().await;
    for panics in [false, true] {
        for (call, attempts) in [("open", 1), ("stage", 1), ("publish", 2), ("published", 1)] {
            let (checkpoint, ledger) = (tempfile::tempdir().unwrap(), Ledger::failing(call, panics));
            let stream = MemoryStream::new("n BIGINT");
            stream.add(numbers(&[1, 2])).unwrap();
            let frame = stream.frame(&session).unwrap();
            let error = run(&frame, &checkpoint, Box::new(ledger.clone())).await.unwrap_err();
            let words = match (panics, call) {
                (false, "published" | "publish" | "stage" | "open") => format!("[USER_CODE] no {call}"),
                (_, "open") => "[INTERNAL_ERROR] the start panicked: a sink's open".to_string(),
                _ => format!("[INTERNAL_ERROR] the query panicked: a sink's {call}"),
            };
            assert!(error.to_string().ends_with(&words), "{error}");
            // Rows that come meanwhile are the next batch's: the one that failed was logged, and stays as it was.
            stream.add(numbers(&[3])).unwrap();
            run(&frame, &checkpoint, Box::new(ledger.clone())).await.unwrap();
            let expected: &[(u64, Vec<i64>)] =
                if call == "open" { &[(0, vec![1, 2, 3])] } else { &[(0, vec![1, 2]), (1, vec![3])] };
            assert_eq!(ledger.rows(), expected, "{call}");
            // What was staged and not published is left to the sink's `sweep`.
            let left = ledger.0.lock().staged.len();
            assert_eq!(left, attempts - 1, "{call}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_function_ends_a_query_and_a_table_alike() {
    let session = session().await;
    let stream = MemoryStream::new("n BIGINT");
    stream.add(numbers(&[1])).unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let frame = stream.frame(&session).unwrap().select([panicking_udf(col("n"))]).unwrap();
    let query = frame.write_stream().table(&table).start().await.unwrap();
    let error = query.await_termination().await.unwrap_err();
    assert!(error.message().ends_with("[INTERNAL_ERROR] a worker panicked: a udf"), "{error}");
    let ids = DataFrame::range(&session, 0, 3, 1).unwrap();
    let error = ids.select([panicking_udf(col("id"))]).unwrap().collect().await.unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::Internal, "a worker panicked: a udf"));
    // A table's source that panics loses no rows in silence.
    let faulty = DataFrame::from_table(&session, Arc::new(Faulty("next"))).unwrap();
    for _ in 0..20 {
        let error = faulty.count().await.unwrap_err();
        assert_eq!((error.code(), error.message()), (ErrorCode::Internal, "a worker panicked: a source's next"));
    }
    let sound = DataFrame::from_table(&session, Arc::new(Faulty("nothing"))).unwrap();
    assert_eq!(sound.count().await.unwrap(), 3);
}

/// A name is a session's; nothing that one session has is the other's.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_share_nothing() {
    let sessions = [session().await, session().await];
    sessions[0].conf().set("spark.sql.ansi.enabled", false).unwrap();
    let streams = [MemoryStream::new("n BIGINT"), MemoryStream::new("n BIGINT")];
    let mut queries = Vec::new();
    for (session, stream) in sessions.iter().zip(&streams) {
        let inverse = stream.frame(session).unwrap().select([(lit(1.0) / col("n")).alias("x")]).unwrap();
        queries.push(inverse.write_stream().format("memory").query_name("same").start().await.unwrap());
    }
    for stream in &streams {
        stream.add(numbers(&[0, 2])).unwrap();
    }
    queries[0].process_all_available().await.unwrap();
    let error = queries[1].process_all_available().await.unwrap_err();
    assert!(error.message().contains("[DIVIDE_BY_ZERO]"), "{error}");
    assert_eq!(sessions[0].memory_table("same").unwrap().concat().unwrap().num_rows(), 2);
    assert_eq!(sessions[1].memory_table("same").unwrap().concat().unwrap().num_rows(), 0);
    assert_eq!((sessions[0].streams().active().len(), sessions[1].streams().active().len()), (1, 0));
    sessions[0].stop().await;
    assert!(queries[0].exception().is_none());
}

/// Runs in a process of its own, because it counts what the process has open.
#[test]
#[ignore = "a part of sessions_leave_nothing_behind"]
#[cfg(target_os = "linux")]
fn a_process_with_many_sessions() {
    let count = |of: &str| std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
    let temporary = || std::fs::read_dir(std::env::temp_dir()).unwrap().count();
    // The first ones leave what is made once a process.
    let mut before = (0, 0);
    for round in 0..22 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(async {
            let session = session().await;
            let stream = MemoryStream::new("n BIGINT");
            let table = MemoryTable::new(Some("out")).unwrap();
            let counts = stream.frame(&session).unwrap().group_by(["n"]).unwrap().count().unwrap();
            let query = counts.write_stream().output_mode(Update).table(&table).start().await.unwrap();
            stream.add(numbers(&[1, 2, 2])).unwrap();
            query.process_all_available().await.unwrap();
            assert_eq!(table.concat().unwrap().num_rows(), 2);
            assert_eq!(temporary(), 1);
            // Every other one is stopped in order; the others are dropped with their runtime.
            if round % 2 == 0 {
                query.stop().await;
                assert_eq!(temporary(), 0);
            }
            query
        });
        drop(runtime);
        assert!(!running.is_active());
        assert_eq!(temporary(), 0, "a checkpoint was left, round {round}");
        let now = (count("task"), count("fd"));
        if round < 2 {
            before = now;
        }
        assert_eq!(now, before, "threads and open files, round {round}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn sessions_leave_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedding::a_process_with_many_sessions", "--ignored", "--test-threads=1"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}
