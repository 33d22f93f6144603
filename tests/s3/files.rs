//! Files in buckets as streams: partitions, compression, Parquet, and what is removed.

use crate::s3::S3Server;
use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use std::io::Write;
use std::sync::Arc;
use tidemill::prelude::{DataFrame, ErrorCode, MemoryTable, Session, Trigger};

async fn session(server: &S3Server) -> Session {
    let mut builder = Session::builder().config("tidemill.device", "cpu");
    for (key, value) in server.settings() {
        builder = builder.config(key, value);
    }
    builder.build().await.unwrap()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Runs what is there into `table`, and gives its rows as text.
async fn run(frame: &DataFrame, checkpoint: &std::path::Path, table: &MemoryTable) -> Vec<String> {
    let query = frame
        .write_stream()
        .table(table)
        .option("checkpointLocation", checkpoint.to_str().unwrap())
        .trigger(Trigger::AvailableNow)
        .start()
        .await
        .unwrap();
    query.await_termination().await.unwrap();
    let batch = table.concat().unwrap();
    let mut texts: Vec<String> = (0..batch.num_rows())
        .map(|row| {
            let cell =
                |column: &arrow::array::ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
            batch.columns().iter().map(cell).collect::<Vec<_>>().join("|")
        })
        .collect();
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_json_with_partitions_is_read_once() {
    let server = S3Server::start(&["lake"]);
    server.put(
        "lake",
        "rides/day=2026-01-01/a.json.gz",
        gzip("{\"city\":\"Paris\",\"n\":1}\n{\"city\":\"Rome\",\"n\":2}\n"),
    );
    server.put("lake", "rides/day=2026-01-02/b.json.gz", gzip("{\"city\":\"Oslo\",\"n\":3}\n"));
    server.put("lake", "rides/_tmp/c.json.gz", "not yet");
    let session = session(&server).await;
    let rides = session
        .read_stream()
        .format("json")
        .schema("city STRING, n BIGINT")
        .option("maxFilesPerTrigger", 1)
        .load_path("s3a://lake/rides")
        .await
        .unwrap();
    let names: Vec<String> = rides.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["city", "n", "day"]);
    assert_eq!(*rides.schema().field(2).data_type(), DataType::Date32);
    let checkpoint = tempfile::tempdir().unwrap();
    let table = MemoryTable::new(Some("out")).unwrap();
    let rows = run(&rides, checkpoint.path(), &table).await;
    assert_eq!(rows, ["Oslo|3|2026-01-02", "Paris|1|2026-01-01", "Rome|2|2026-01-01"]);
    // Another run of the same query finds only what is new.
    server.put("lake", "rides/day=2026-01-02/d.json.gz", gzip("{\"city\":\"Bern\",\"n\":4}\n"));
    let rows = run(&rides, checkpoint.path(), &table).await;
    assert_eq!(rows, ["Bern|4|2026-01-02", "Oslo|3|2026-01-02", "Paris|1|2026-01-01", "Rome|2|2026-01-01"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_columns_are_fetched_by_range() {
    let server = S3Server::start(&["lake"]);
    let schema =
        Arc::new(Schema::new(vec![Field::new("city", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(StringArray::from(vec!["Paris", "Rome"])), Arc::new(Int64Array::from(vec![1, 2]))];
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    server.put("lake", "rides/a.parquet", bytes);
    let session = session(&server).await;
    session.conf().set("spark.sql.streaming.schemaInference", true).unwrap();
    let rides = session.read_stream().format("parquet").load_path("s3a://lake/rides/*.parquet").await.unwrap();
    let checkpoint = tempfile::tempdir().unwrap();
    let rows = run(&rides.select(["n"]).unwrap(), checkpoint.path(), &MemoryTable::new(Some("out")).unwrap()).await;
    assert_eq!(rows, ["1", "2"]);
    let missing = session.read_stream().format("text").load_path("s3a://lake/nothing").await.err().unwrap();
    assert_eq!(
        (missing.code(), missing.message()),
        (ErrorCode::PathNotFound, "Path does not exist: s3a://lake/nothing")
    );
}
