//! Tests of the file sinks; here, what they share, and the life of a local file.

mod formats;
mod objects;
mod partitions;

use super::*;
use crate::options::Options;
use crate::source::files::tests::{every_type, read_parquet};
use crate::types::StructType;
use arrow::array::{ArrayRef, Int64Array, StringArray};
use sha2::{Digest, Sha256};
use std::path::Path;

const QUERY: Uuid = Uuid::from_u128(0x1111_1111_0000_4000_8000_0000_0000_0000);
const OTHER: Uuid = Uuid::from_u128(0x2222_2222_0000_4000_8000_0000_0000_0000);

fn attempt(number: u128) -> Uuid {
    Uuid::from_u128((0xaaaa_aa00 + number) << 96)
}

fn writer(query_id: Uuid, schema: &SchemaRef) -> Writer {
    Writer { query_id, run_id: attempt(99), epoch: 1, mode: OutputMode::Append, schema: schema.clone() }
}

/// A sink of any format at a path or URL.
fn file_sink(format: &str, place: &str, options: &[(&str, &str)], partition_by: &[&str]) -> Result<FileSink> {
    let mut all = Options::from_iter(options.iter().copied());
    all.set("path", place);
    let mut reader = all.reader(format!("the {format} sink"));
    let columns: Vec<String> = partition_by.iter().map(ToString::to_string).collect();
    let sink = FileSink::new(format, &mut reader, &columns, &Config::default(), FailPoints::default())?;
    reader.finish()?;
    Ok(sink)
}

fn sink(path: &Path, options: &[(&str, &str)]) -> Result<FileSink> {
    file_sink("parquet", &path.to_string_lossy(), options, &[])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stages and publishes a batch.
async fn written(sink: &mut FileSink, batch: u64, rows: &[RecordBatch]) -> Prepared {
    let attempt = attempt(u128::from(batch));
    let payload = sink.stage(batch, attempt, rows).await.unwrap();
    let prepared = Prepared { batch, attempt, payload };
    sink.publish(&prepared).await.unwrap();
    prepared
}

fn numbers(values: &[i64]) -> RecordBatch {
    let schema = StructType::from_ddl("n BIGINT").unwrap().to_arrow_schema();
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]).unwrap()
}

async fn opened(path: &Path, query: Uuid) -> FileSink {
    let mut sink = sink(path, &[]).unwrap();
    sink.open(&writer(query, &numbers(&[]).schema())).await.unwrap();
    sink
}

async fn staged(sink: &mut FileSink, batch: u64, number: u128, values: &[i64]) -> Prepared {
    let payload = sink.stage(batch, attempt(number), &[numbers(values)]).await.unwrap();
    Prepared { batch, attempt: attempt(number), payload }
}

/// Names in the directory, sorted.
fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn stages_hidden_and_publishes_once() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("deep/out");
    let mut sink = opened(&out, QUERY).await;
    assert_eq!(sink.description(), format!("FileSink[file:{}]", out.display()));
    let prepared = staged(&mut sink, 7, 1, &[1, 2, 3]).await;
    assert_eq!(names(&out), [".part-00007-0-aaaaaa01.parquet.11111111.staging"]);
    let part = &prepared.payload["files"][0];
    assert_eq!((&part["name"], &part["rows"]), (&"part-00007-0-aaaaaa01.parquet".into(), &3.into()));
    let bytes = std::fs::read(out.join(".part-00007-0-aaaaaa01.parquet.11111111.staging")).unwrap();
    assert_eq!(part["bytes"], bytes.len());
    assert_eq!(part["sha256"], hex(&Sha256::digest(&bytes)));
    for _ in 0..2 {
        sink.publish(&prepared).await.unwrap();
        assert_eq!(names(&out), ["part-00007-0-aaaaaa01.parquet"]);
    }
    assert_eq!(sink.settle(&prepared).await.unwrap(), Settled::Published);
    assert_eq!(read_parquet(&out, numbers(&[]).schema()).await, [numbers(&[1, 2, 3])]);
}

#[tokio::test]
async fn a_crash_between_stage_and_publish_is_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let prepared = staged(&mut opened(directory.path(), QUERY).await, 0, 1, &[5]).await;
    let mut restarted = opened(directory.path(), QUERY).await;
    assert_eq!(restarted.settle(&prepared).await.unwrap(), Settled::Published);
    assert_eq!(names(directory.path()), ["part-00000-0-aaaaaa01.parquet"]);
    assert_eq!(restarted.settle(&prepared).await.unwrap(), Settled::Published);
    assert_eq!(read_parquet(directory.path(), numbers(&[]).schema()).await, [numbers(&[5])]);
}

#[tokio::test]
async fn a_missing_or_damaged_file_is_corruption_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = opened(directory.path(), QUERY).await;
    let prepared = staged(&mut sink, 0, 1, &[5]).await;
    let path = directory.path().join(".part-00000-0-aaaaaa01.parquet.11111111.staging");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = sink.settle(&prepared).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
    assert!(error.message().contains(".part-00000-0-aaaaaa01.parquet.11111111.staging is not the file"), "{error}");
    std::fs::remove_file(&path).unwrap();
    for error in [sink.settle(&prepared).await.unwrap_err(), sink.publish(&prepared).await.unwrap_err()] {
        assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
        assert!(error.message().contains("part-00000-0-aaaaaa01.parquet of batch 0"), "{error}");
    }
    let outside = Prepared {
        payload: serde_json::json!({"files": [{"name": "../x", "bytes": 1, "rows": 1, "sha256": ""}]}),
        ..prepared
    };
    assert_eq!(sink.publish(&outside).await.unwrap_err().code(), ErrorCode::CheckpointCorrupt);
}

#[tokio::test]
async fn no_rows_make_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = opened(directory.path(), QUERY).await;
    let prepared = staged(&mut sink, 3, 1, &[]).await;
    assert_eq!(prepared.payload, serde_json::json!({"files": []}));
    sink.publish(&prepared).await.unwrap();
    assert_eq!(sink.settle(&prepared).await.unwrap(), Settled::Published);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn sweep_takes_only_this_querys_stale_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = opened(directory.path(), QUERY).await;
    staged(&mut sink, 0, 1, &[1]).await;
    let keep = staged(&mut sink, 1, 2, &[2]).await;
    let done = staged(&mut sink, 2, 3, &[3]).await;
    sink.publish(&done).await.unwrap();
    staged(&mut opened(directory.path(), OTHER).await, 0, 4, &[4]).await;
    std::fs::write(directory.path().join(".hidden"), b"user's").unwrap();
    sink.sweep(Some(&keep)).await.unwrap();
    let others = [".hidden", ".part-00000-0-aaaaaa04.parquet.22222222.staging"];
    assert_eq!(
        names(directory.path()),
        [others[0], others[1], ".part-00001-0-aaaaaa02.parquet.11111111.staging", "part-00002-0-aaaaaa03.parquet"]
    );
    sink.sweep(None).await.unwrap();
    assert_eq!(names(directory.path()), [others[0], others[1], "part-00002-0-aaaaaa03.parquet"]);
}

#[tokio::test]
async fn every_type_round_trips_in_every_compression() {
    let rows = every_type();
    for compression in ["snappy", "ZSTD", "gzip", "none", "uncompressed"] {
        let directory = tempfile::tempdir().unwrap();
        let mut sink = sink(directory.path(), &[("compression", compression)]).unwrap();
        sink.open(&writer(QUERY, &rows.schema())).await.unwrap();
        let payload = sink.stage(0, attempt(1), &[rows.slice(0, 1), rows.slice(1, 0), rows.slice(1, 2)]).await.unwrap();
        sink.publish(&Prepared { batch: 0, attempt: attempt(1), payload }).await.unwrap();
        let read = read_parquet(directory.path(), rows.schema()).await;
        assert_eq!(read, std::slice::from_ref(&rows), "{compression}");
    }
}

#[tokio::test]
async fn refusals() {
    let (directory, none) = (tempfile::tempdir().unwrap(), Options::new());
    let mut reader = none.reader("the parquet sink");
    let error = FileSink::new("parquet", &mut reader, &[], &Config::default(), FailPoints::default()).err().unwrap();
    assert_eq!(error.message(), "'path' is not specified.");
    let refused = |key, value| sink(directory.path(), &[(key, value)]).err().unwrap();
    assert_eq!(refused("compression", "lzo").code(), ErrorCode::InvalidOption);
    let error = refused("partitionBy", "city");
    assert_eq!(error.code(), ErrorCode::InvalidOption);
    assert!(error.message().contains("call partition_by"), "{error}");
    assert_eq!(refused("compresion", "zstd").code(), ErrorCode::InvalidOption);
    for mode in [OutputMode::Update, OutputMode::Complete] {
        let writer = Writer { mode, ..writer(QUERY, &numbers(&[]).schema()) };
        let error = sink(directory.path(), &[]).unwrap().open(&writer).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::OutputModeUnsupportedSink);
    }
}
