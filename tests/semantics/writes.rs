//! Tables that are written: the save modes, the formats, and what is left where something fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidemill::prelude::*;

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").build().await.unwrap()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Files below a directory, also hidden ones, in order; but for the one that says that all are there.
    fn files(&self, name: &str) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false if path.ends_with("_SUCCESS") => {}
                    false => found.push(path),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(name), &mut found);
        found.sort();
        found
    }
}

async fn ids(session: &Session, path: &str) -> Vec<i64> {
    let rows = session.read().load_path(path).await.unwrap().collect().await.unwrap();
    let ids = rows.iter().flat_map(|rows| {
        let ids = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(rows.column(0));
        ids.values().to_vec()
    });
    let mut ids: Vec<i64> = ids.collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn save_modes_are_sparks() {
    let (session, place) = (session().await, Place::new());
    let out = place.text("out");
    let range = |start, end| DataFrame::range(&session, start, end, 1).unwrap();
    range(0, 2).write().parquet(&out).await.unwrap();
    // Others wait for this file.
    assert_eq!(std::fs::read(place.path("out/_SUCCESS")).unwrap(), b"");
    // The default fails and changes nothing, before any row is computed.
    let exploding = range(0, 1).select([raise_error("computed").alias("id")]).unwrap();
    for mode in ["error", "errorifexists", "default", "ErrorIfExists"] {
        let error = exploding.write().mode(mode).parquet(&out).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PathAlreadyExists);
        assert!(error.message().starts_with(&format!("Path file:{out} already exists")), "{error}");
    }
    exploding.write().mode(SaveMode::Ignore).parquet(&out).await.unwrap();
    assert_eq!(ids(&session, &out).await, [0, 1]);
    range(5, 7).write().mode("append").parquet(&out).await.unwrap();
    assert_eq!(ids(&session, &out).await, [0, 1, 5, 6]);
    range(8, 9).write().mode("overwrite").parquet(&out).await.unwrap();
    assert_eq!(ids(&session, &out).await, [8]);
    assert_eq!(place.files("out").len(), 1);
    // A frame may overwrite what it reads.
    let read = session.read().load_path(&out).await.unwrap();
    let doubled = read.select([(col("id") * 2).alias("id")]).unwrap();
    doubled.write().mode(SaveMode::Overwrite).parquet(&out).await.unwrap();
    assert_eq!(ids(&session, &out).await, [16]);
    // Where only hidden files are, there is nothing yet.
    std::fs::create_dir(place.path("hidden")).unwrap();
    std::fs::write(place.path("hidden/_SUCCESS"), "").unwrap();
    range(0, 1).write().parquet(&place.text("hidden")).await.unwrap();
    assert_eq!(ids(&session, &place.text("hidden")).await, [0]);
    let error = range(0, 1).write().mode("upsert").parquet(&out).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidSaveMode);
}

#[tokio::test(flavor = "multi_thread")]
async fn overwriting_removes_what_was_there_once_the_new_rows_are() {
    let (session, place) = (session().await, Place::new());
    let out = place.text("out");
    let rows = DataFrame::range(&session, 0, 4, 1).unwrap();
    let split = |part: Column| rows.with_column("part", part).unwrap();
    let even = split((col("id") % 2).cast("string"));
    even.write().partition_by(["part"]).json(&out).await.unwrap();
    assert!(place.path("out/part=0").is_dir() && place.path("out/part=1").is_dir());
    std::fs::write(place.path("out/.kept"), "").unwrap();
    // A failure leaves everything as it was: in the middle of the computation,
    let failing = rows.select([(lit(1) / (col("id") - 3)).alias("x")]).unwrap();
    let before = place.files("out");
    let error = failing.write().mode("overwrite").json(&out).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DivideByZero);
    assert_eq!(place.files("out"), before);
    // and among the files, of which the last cannot be written; nothing that was staged is left.
    let long = rows.with_column("part", when(col("id").eq(3), lit("x".repeat(300))).otherwise(lit("a"))).unwrap();
    let error = long.write().mode("overwrite").partition_by(["part"]).json(&out).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    assert_eq!(place.files("out"), before);
    split(lit("z")).write().mode("overwrite").partition_by(["part"]).json(&out).await.unwrap();
    assert!(!place.path("out/part=0").exists() && !place.path("out/part=1").exists());
    let left: Vec<_> = place.files("out").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(left, ["", "{\"id\":0}\n{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n"]);
}

/// Spark writes a file for its columns where there are no rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_rows_keeps_its_columns() {
    let (session, place) = (session().await, Place::new());
    let none = DataFrame::range(&session, 0, 0, 1).unwrap();
    none.write().parquet(&place.text("parquet")).await.unwrap();
    let read = session.read().load_path(&place.text("parquet")).await.unwrap();
    assert_eq!((read.schema().field(0).name().as_str(), read.count().await.unwrap()), ("id", 0));
    none.write().option("header", true).csv(&place.text("csv")).await.unwrap();
    let texts: Vec<_> = place.files("csv").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts, ["id\n"]);
    none.write().json(&place.text("json")).await.unwrap();
    assert!(place.files("json").is_empty());
    none.with_column("k", lit("a")).unwrap().write().partition_by(["k"]).parquet(&place.text("split")).await.unwrap();
    assert!(place.files("split").is_empty());
}

/// What the console prints is kept.
#[derive(Clone, Default)]
struct Printed(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_formats_take_tables() {
    let (session, place) = (session().await, Place::new());
    let rows = DataFrame::range(&session, 0, 3, 1).unwrap();
    let printed = Printed::default();
    let console = rows.write().format("console").options([("numRows", 2)]).console_output(printed.clone());
    console.save().await.unwrap();
    let text = String::from_utf8(printed.0.lock().clone()).unwrap();
    assert_eq!(text, "+---+\n| id|\n+---+\n|  0|\n|  1|\n+---+\nonly showing top 2 rows\n\n");
    rows.write().format("noop").mode("overwrite").save().await.unwrap();
    rows.select([col("id").cast("string")]).unwrap().write().text(&place.text("text")).await.unwrap();
    let texts: Vec<_> = place.files("text").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts, ["0\n1\n2\n"]);
    let table = MemoryTable::new(Some("mine")).unwrap();
    rows.write().sink(Box::new(table.sink())).save().await.unwrap();
    assert_eq!(table.concat().unwrap().num_rows(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused_by_name() {
    let (session, place) = (session().await, Place::new());
    let rows = DataFrame::range(&session, 0, 3, 1).unwrap();
    let refused = async |writer: DataFrameWriter, code: ErrorCode, words: &str| {
        let error = writer.save().await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(words), "{error} does not say {words:?}");
    };
    refused(rows.write(), ErrorCode::InvalidOption, "'path' is not specified").await;
    refused(rows.write().format("delta"), ErrorCode::DataSourceNotFound, "delta").await;
    refused(rows.write().format("memory"), ErrorCode::UnsupportedOperation, "collect()").await;
    refused(rows.write().format("kafka").mode("overwrite"), ErrorCode::UnsupportedOperation, "overwrite").await;
    let to = |path: &str| rows.write().option("path", place.text(path));
    refused(to("out").option("compresion", "zstd"), ErrorCode::InvalidOption, "compression").await;
    refused(to("out").partition_by(["nope"]), ErrorCode::UnresolvedColumn, "nope").await;
    std::fs::write(place.path("file"), "").unwrap();
    refused(to("file"), ErrorCode::Io, "is a file").await;
    refused(to("file").mode("overwrite"), ErrorCode::Io, "is a file").await;
    let error = rows.write().insert_into("rides").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::TableNotFound, "{error}");
    let error = rows.write().save_as_table("../rides").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidOption, "{error}");
    let stream = MemoryStream::new("n BIGINT").frame(&session).unwrap();
    refused(stream.write().format("noop"), ErrorCode::CallOnStreamingDataset, "write_stream()").await;
    assert!(!place.path("out").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_takes_its_files_with_it_and_another_does_not() {
    let place = Place::new();
    let builder = Session::builder().config("tidemill.device", "cpu");
    let session = builder.config("spark.sql.warehouse.dir", place.text("warehouse")).build().await.unwrap();
    let rows = DataFrame::range(&session, 0, 3, 1).unwrap();
    rows.write().save_as_table("kept").await.unwrap();
    rows.write().option("path", place.text("elsewhere")).save().await.unwrap();
    let elsewhere = place.text("elsewhere");
    session.sql(&format!("CREATE TABLE other USING parquet LOCATION '{elsewhere}'")).await.unwrap();
    rows.create_or_replace_temp_view("seen").unwrap();

    let error = session.sql("DROP VIEW kept").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::WrongObjectType, "{error}");
    assert_eq!(error.parameter("alternative"), Some("DROP TABLE"));
    for statement in ["DROP TABLE kept", "drop table if exists Other", "DROP VIEW seen", "DROP TABLE IF EXISTS kept"] {
        session.sql(statement).await.unwrap();
    }
    assert!(place.files("warehouse/kept").is_empty());
    assert!(!place.files("elsewhere").is_empty());
    // Who names a place keeps what is there, also where the session would have placed the files itself.
    let own = place.text("warehouse/own");
    rows.write().parquet(&own).await.unwrap();
    session.sql(&format!("CREATE TABLE own USING parquet LOCATION '{own}'")).await.unwrap();
    session.sql("DROP TABLE own").await.unwrap();
    assert!(!place.files("warehouse/own").is_empty());
    for name in ["kept", "other", "seen"] {
        let error = session.sql(&format!("DROP TABLE {name}")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::TableNotFound, "{error}");
    }
}

/// After a restart nobody knows the tables whose files are there: rows are added or overwritten only by who says so.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_that_is_not_known_any_more_are_not_overwritten() {
    let place = Place::new();
    let warehouse = place.text("warehouse");
    let session = async || {
        let builder = Session::builder().config("tidemill.device", "cpu");
        builder.config("spark.sql.warehouse.dir", &warehouse).build().await.unwrap()
    };
    let before = session().await;
    DataFrame::range(&before, 0, 3, 1).unwrap().write().save_as_table("t").await.unwrap();
    for (mode, rows) in [("errorifexists", None), ("ignore", None), ("append", Some(5)), ("overwrite", Some(2))] {
        let after = session().await;
        let saved = DataFrame::range(&after, 0, 2, 1).unwrap().write().mode(mode).save_as_table("t").await;
        match rows {
            None => assert_eq!(saved.unwrap_err().code(), ErrorCode::PathAlreadyExists, "{mode}"),
            Some(rows) => {
                saved.unwrap();
                assert_eq!(after.table("t").await.unwrap().count().await.unwrap(), rows, "{mode}");
            }
        }
    }
}
