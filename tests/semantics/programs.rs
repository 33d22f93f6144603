//! The programs of the tutorial that the API is modelled on, line by line, over files: what each prints and writes. Those over Kafka are in
//! `tests/kafka/programs.rs`.

use parking_lot::Mutex;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidemill::prelude::*;

/// Input, output and checkpoints of one program.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.0.path().join("in")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// A file that is read after those of smaller numbers.
    fn add(&self, name: &str, number: u64, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let hidden = path.with_file_name(format!("_{number}"));
        std::fs::write(&hidden, content).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200 + number);
        std::fs::File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
        std::fs::rename(hidden, path).unwrap();
    }
}

async fn session() -> Session {
    let builder = Session::builder().app_name("StreamingInterview").config("spark.sql.shuffle.partitions", "200");
    builder.config("tidemill.device", "cpu").config("tidemill.workers", 2).build().await.unwrap()
}

/// What the console sink has printed.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(data)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Cells of every row as text, in order.
async fn texts(frame: &DataFrame) -> Vec<String> {
    let mut texts = Vec::new();
    for batch in frame.collect().await.unwrap() {
        texts.extend((0..batch.num_rows()).map(|row| {
            let cell =
                |column: &arrow::array::ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
            batch.columns().iter().map(cell).collect::<Vec<_>>().join("|")
        }));
    }
    texts.sort();
    texts
}

async fn table_texts(session: &Session, name: &str) -> Vec<String> {
    let table = session.memory_table(name).unwrap();
    texts(&DataFrame::from_batches(session, table.schema(), table.rows()).unwrap()).await
}

const EVENTS: &str = "event_time,event_type,user_id,product_id\n\
    2024-01-01 10:01:00,click,u1,p1\n\
    2024-01-01 10:03:00,view,u2,p2\n\
    2024-01-01 10:04:00,scroll,u2,p2\n\
    2024-01-01 10:06:00,click,u1,p3\n\
    2024-01-01 10:07:00,click,u1,p1\n";

async fn events(session: &Session, place: &Place) -> DataFrame {
    let schema = StructType::new(vec![
        StructField::new("event_time", DataType::String, true),
        StructField::new("event_type", DataType::String, true),
        StructField::new("user_id", DataType::String, true),
        StructField::new("product_id", DataType::String, true),
    ]);
    let reader = session.read_stream().format("csv").option("header", "true").schema(schema);
    reader.load_path(&place.text("in")).await.unwrap()
}

/// With the time as a timestamp.
async fn timed(session: &Session, place: &Place) -> DataFrame {
    events(session, place).await.with_column("event_time", col("event_time").cast("timestamp")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_basic_example_prints_its_windows() {
    let (session, place, page) = (session().await, Place::new(), Page::default());
    place.add("in/a.csv", 1, EVENTS);
    let processed = events(&session, &place)
        .await
        .filter(col("event_type").isin(["click", "view", "purchase"]))
        .unwrap()
        .with_column("event_time", col("event_time").cast("timestamp"))
        .unwrap()
        .with_column("window", window(col("event_time"), "5 minutes"))
        .unwrap()
        .group_by(["window", "event_type"])
        .unwrap()
        .count()
        .unwrap();
    let query = processed
        .write_stream()
        .output_mode("update")
        .format("console")
        .console_output(page.clone())
        .option("truncate", false)
        .option("checkpointLocation", place.text("checkpoints"))
        .trigger(Trigger::processing_time("1 second"))
        .start()
        .await
        .unwrap();
    query.process_all_available().await.unwrap();
    let printed = page.text();
    let mut rows: Vec<&str> = printed.lines().filter(|line| line.starts_with("|{")).collect();
    rows.sort();
    assert_eq!(
        rows,
        [
            "|{2024-01-01 10:00:00, 2024-01-01 10:05:00}|click     |1    |",
            "|{2024-01-01 10:00:00, 2024-01-01 10:05:00}|view      |1    |",
            "|{2024-01-01 10:05:00, 2024-01-01 10:10:00}|click     |2    |"
        ]
    );
    assert!(query.is_active() && query.exception().is_none());
    assert_eq!(query.recent_progress()[0].num_input_rows, 5);
    assert_eq!(query.last_progress().as_deref(), query.recent_progress().last().map(Arc::as_ref));
    query.stop().await;
    query.await_termination().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_output_mode_writes_what_it_promises() {
    let (session, place) = (session().await, Place::new());
    place.add("in/a.csv", 1, EVENTS);
    let streaming = events(&session, &place).await;
    let append = streaming.write_stream().output_mode("append").format("parquet");
    let append =
        append.option("checkpointLocation", place.text("ck/append")).start_path(&place.text("out")).await.unwrap();
    let by_type = streaming.group_by(["event_type"]).unwrap().count().unwrap();
    let (complete_page, update_page) = (Page::default(), Page::default());
    let complete =
        by_type.write_stream().output_mode("complete").format("console").console_output(complete_page.clone());
    let complete = complete.option("checkpointLocation", place.text("ck/complete")).start().await.unwrap();
    let by_user = streaming.group_by(["user_id"]).unwrap().agg([count("*").alias("event_count")]).unwrap();
    let update = by_user.write_stream().output_mode("update").format("console").console_output(update_page.clone());
    let update = update.option("checkpointLocation", place.text("ck/update")).start().await.unwrap();
    for (number, more) in
        [(1, None), (2, Some("event_time,event_type,user_id,product_id\n2024-01-01 11:00:00,buy,u2,p9\n"))]
    {
        if let Some(more) = more {
            place.add("in/b.csv", number, more);
        }
        for query in [&append, &complete, &update] {
            query.process_all_available().await.unwrap();
        }
    }
    session.stop().await;
    assert_eq!(session.read().load_path(&place.text("out")).await.unwrap().count().await.unwrap(), 6);
    let second = |page: &Page| {
        let text = page.text();
        let (_, batch) = text.split_once("Batch: 1\n").unwrap();
        let mut rows: Vec<String> = batch.lines().filter(|l| l.starts_with('|')).skip(1).map(str::to_string).collect();
        rows.sort();
        rows
    };
    let counted = ["|       buy|    1|", "|    scroll|    1|", "|     click|    3|", "|      view|    1|"];
    let mut counted: Vec<String> = counted.iter().map(ToString::to_string).collect();
    counted.sort();
    assert_eq!(second(&complete_page), counted);
    assert_eq!(second(&update_page), ["|     u2|          3|"]);
    // What the table of modes says is refused is refused.
    let refused = by_type.write_stream().output_mode("append").format("console").start().await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::OutputModeUnsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trigger_runs_or_says_why_not() {
    let (session, place) = (session().await, Place::new());
    place.add("in/a.csv", 1, EVENTS);
    let streaming = events(&session, &place).await;
    let triggers = [
        Trigger::processing_time("30 seconds"),
        Trigger::processing_time("0 seconds"),
        Ok(Trigger::Once),
        Ok(Trigger::AvailableNow),
    ];
    for (number, trigger) in triggers.into_iter().enumerate() {
        let finite = trigger.as_ref().unwrap().is_finite();
        let query = streaming
            .write_stream()
            .format("memory")
            .query_name(&format!("t{number}"))
            .trigger(trigger)
            .start()
            .await
            .unwrap();
        if finite {
            query.await_termination().await.unwrap();
        } else {
            query.process_all_available().await.unwrap();
            query.stop().await;
        }
        assert_eq!(table_texts(&session, &format!("t{number}")).await.len(), 5);
        assert!(!query.is_active());
    }
    // Files do not flow; rate does.
    let continuous = streaming.write_stream().format("noop").trigger(Trigger::continuous("1 second")).start().await;
    let error = continuous.err().unwrap();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert!(
        error.message().starts_with("continuous processing does not support StreamingRelation operations"),
        "{error}"
    );
    let rate = session.read_stream().format("rate").option("rowsPerSecond", 1000).load().await.unwrap();
    let query = rate.write_stream().format("console").console_output(Page::default());
    let query = query.trigger(Trigger::continuous("1 second")).start().await.unwrap();
    query.process_all_available().await.unwrap();
    query.stop().await;
    assert!(query.exception().is_none());
    // A start that names no place says which option is missing.
    let nowhere = streaming.write_stream().trigger(Trigger::AvailableNow).start().await.err().unwrap();
    assert_eq!((nowhere.code(), nowhere.message()), (ErrorCode::InvalidOption, "'path' is not specified."));
    let unsafe_ = streaming.write_stream().trigger(Trigger::AvailableNow).start_path(&place.text("out")).await;
    let error = unsafe_.err().unwrap();
    assert_eq!(error.code(), ErrorCode::MissingOption);
    assert!(error.message().starts_with("checkpointLocation must be specified"), "{error}");
    assert!(!place.path("out").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn tumbling_sliding_and_listed_windows() {
    let (session, place) = (session().await, Place::new());
    place.add("in/a.csv", 1, EVENTS);
    let marked = timed(&session, &place).await.with_watermark("event_time", "10 minutes").unwrap();
    let tumbling = marked.group_by([window("event_time", "5 minutes"), col("event_type")]).unwrap().count().unwrap();
    let sliding = window_sliding("event_time", "10 minutes", "5 minutes");
    let sliding = marked.group_by([sliding, col("event_type")]).unwrap().count().unwrap();
    let listed = marked.group_by([window("event_time", "1 hour"), col("user_id")]).unwrap();
    let listed = listed.agg([collect_list("event_type").alias("events")]).unwrap();
    for (name, frame) in [("tumbling", &tumbling), ("sliding", &sliding), ("listed", &listed)] {
        let flat = frame.with_column("window", col("window.start").cast("string")).unwrap();
        let writer = flat.write_stream().output_mode("update").format("memory").query_name(name);
        writer.trigger(Trigger::AvailableNow).start().await.unwrap().await_termination().await.unwrap();
    }
    assert_eq!(
        table_texts(&session, "tumbling").await,
        [
            "2024-01-01 10:00:00|click|1",
            "2024-01-01 10:00:00|scroll|1",
            "2024-01-01 10:00:00|view|1",
            "2024-01-01 10:05:00|click|2"
        ]
    );
    assert_eq!(
        table_texts(&session, "sliding").await,
        [
            "2024-01-01 09:55:00|click|1",
            "2024-01-01 09:55:00|scroll|1",
            "2024-01-01 09:55:00|view|1",
            "2024-01-01 10:00:00|click|3",
            "2024-01-01 10:00:00|scroll|1",
            "2024-01-01 10:00:00|view|1",
            "2024-01-01 10:05:00|click|2"
        ]
    );
    assert_eq!(
        table_texts(&session, "listed").await,
        ["2024-01-01 10:00:00|u1|[click, click, click]", "2024-01-01 10:00:00|u2|[view, scroll]"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_joined_with_a_table_of_products() {
    let (session, place) = (session().await, Place::new());
    place.add("in/a.csv", 1, EVENTS);
    place.add("products.csv", 1, "product_id,title\np1,Mug\np2,Cup\n");
    let products =
        session.read().format("csv").option("header", true).load_path(&place.text("products.csv")).await.unwrap();
    products.write().parquet(&place.text("products")).await.unwrap();
    let streaming = events(&session, &place).await;
    let products = session.read().format("parquet").load_path(&place.text("products")).await.unwrap();
    let on = streaming.col("product_id").eq(products.col("product_id"));
    let joined = streaming.join(&products, on, "left").unwrap();
    let shown = joined.select([col("user_id"), streaming.col("product_id"), col("title")]).unwrap();
    let writer = shown.write_stream().format("memory").query_name("joined").trigger(Trigger::AvailableNow);
    writer.start().await.unwrap().await_termination().await.unwrap();
    assert_eq!(table_texts(&session, "joined").await, ["u1|p1|Mug", "u1|p1|Mug", "u1|p3|", "u2|p2|Cup", "u2|p2|Cup"]);
}

/// Directories that a stream writes are read again with the types that they had.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_make_a_round_trip() {
    let (session, place) = (session().await, Place::new());
    let rides = "{\"city\":\"São Paulo\",\"t\":\"2024-01-01T10:00:00Z\",\"fare\":1.5,\"n\":7}\n\
        {\"city\":\"a=b/c\",\"t\":\"2024-01-02T10:00:00Z\",\"fare\":2.5,\"n\":8}\n\
        {\"t\":\"2024-01-02T11:00:00Z\",\"fare\":3.5,\"n\":7}\n";
    place.add("in/a.json", 1, rides);
    let reader = session.read_stream().format("json").schema("city STRING, t TIMESTAMP, fare DOUBLE, n INT");
    let stream = reader.load_path(&place.text("in")).await.unwrap();
    let stream = stream.with_column("date", to_date("t")).unwrap().drop(&["t"]).unwrap();
    let writer = stream.write_stream().partition_by(["date", "city"]).trigger(Trigger::AvailableNow);
    let writer = writer.option("checkpointLocation", place.text("ck"));
    writer.start_path(&place.text("out")).await.unwrap().await_termination().await.unwrap();
    let read = session.read().load_path(&place.text("out")).await.unwrap();
    let columns: Vec<String> =
        read.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(columns, ["fare Float64", "n Int32", "date Date32", "city Utf8"]);
    let rows = ["1.5|7|2024-01-01|São Paulo", "2.5|8|2024-01-02|a=b/c", "3.5|7|2024-01-02|"];
    assert_eq!(texts(&read).await, rows);
    assert_eq!(texts(&read.filter(col("date").eq(lit("2024-01-01"))).unwrap()).await, rows[..1]);
    // A table's writer lays them out the same way, and reads as a stream too.
    let again = read.write().mode("overwrite").partition_by(["date", "city"]).format("json");
    again.save_path(&place.text("again")).await.unwrap();
    let reader = session.read_stream().format("json").schema("fare DOUBLE, n INT, date DATE, city STRING");
    let stream = reader.load_path(&place.text("again")).await.unwrap();
    let writer = stream.write_stream().format("memory").query_name("again").trigger(Trigger::AvailableNow);
    writer.start().await.unwrap().await_termination().await.unwrap();
    assert_eq!(table_texts(&session, "again").await, rows);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(text: &str) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Compressed files, directories that appear while the query runs, and an archive for what was read.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_files_in_new_directories_are_read_and_archived() {
    let (session, place) = (session().await, Place::new());
    place.add("in/day=2024-01-01/a.json.gz", 1, gzip("{\"n\":1}\n{\"n\":2}\n"));
    let reader = session.read_stream().format("json").schema("n INT").option("maxFilesPerTrigger", 1);
    let reader = reader.option("cleanSource", "archive").option("sourceArchiveDir", place.text("archive"));
    let stream = reader.load_path(&place.text("in")).await.unwrap();
    let query = stream.write_stream().format("memory").query_name("days").start().await.unwrap();
    query.process_all_available().await.unwrap();
    place.add("in/day=2024-01-02/b.json.gz", 2, gzip("{\"n\":3}\n"));
    query.process_all_available().await.unwrap();
    place.add("in/day=2024-01-02/c.json", 3, "{\"n\":4}\n");
    query.process_all_available().await.unwrap();
    assert_eq!(table_texts(&session, "days").await, ["1|2024-01-01", "2|2024-01-01", "3|2024-01-02", "4|2024-01-02"]);
    query.stop().await;
    // One batch behind, each file stands in the archive under its whole path.
    let archived = |name: &str| Path::new(&format!("{}{}", place.text("archive"), place.text(name))).exists();
    assert!(archived("in/day=2024-01-01/a.json.gz") && !place.path("in/day=2024-01-01/a.json.gz").exists());
    assert!(!archived("in/day=2024-01-02/c.json") && place.path("in/day=2024-01-02/c.json").exists());

    // Without partitions a directory is not entered, unless it is asked for.
    place.add("flat/a.csv.bz2", 1, bzip2("1,x\n2,y\n"));
    let run = async |name: &str, recursive: bool| {
        let reader = session.read_stream().format("csv").schema("n INT, s STRING");
        let stream = reader.option("recursiveFileLookup", recursive).load_path(&place.text("flat")).await.unwrap();
        let query = stream.write_stream().format("memory").query_name(name).start().await.unwrap();
        query.process_all_available().await.unwrap();
        place.add(&format!("flat/{name}/b.csv.bz2"), 2, bzip2("3,z\n"));
        query.process_all_available().await.unwrap();
        query.stop().await;
        assert!(query.exception().is_none());
        table_texts(&session, name).await
    };
    assert_eq!(run("shallow", false).await, ["1|x", "2|y"]);
    assert_eq!(run("deep", true).await, ["1|x", "2|y", "3|z", "3|z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_inferred_for_tables_and_on_request_for_streams() {
    let (session, place) = (session().await, Place::new());
    place.add("in/a.json", 1, "{\"n\":1,\"x\":1.5,\"s\":\"a\",\"l\":[1],\"o\":{\"b\":true}}\n");
    let columns = |frame: &DataFrame| {
        let fields = frame.schema().fields().iter().map(|field| field.name().clone());
        fields.collect::<Vec<_>>().join(",")
    };
    let table = session.read().format("json").load_path(&place.text("in")).await.unwrap();
    assert_eq!(columns(&table), "l,n,o,s,x");
    let error = session.read_stream().format("json").load_path(&place.text("in")).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::SchemaRequired);
    session.conf().set("spark.sql.streaming.schemaInference", true).unwrap();
    let stream = session.read_stream().format("json").load_path(&place.text("in")).await.unwrap();
    assert_eq!(stream.schema(), table.schema());
    let sums =
        stream.select([(col("n") + col("x")).alias("y"), col("o.b"), col("l").get_item(0).alias("first")]).unwrap();
    let writer = sums.write_stream().format("memory").query_name("sums").trigger(Trigger::AvailableNow);
    writer.start().await.unwrap().await_termination().await.unwrap();
    assert_eq!(table_texts(&session, "sums").await, ["2.5|true|1"]);
}

/// A text is in the session's zone wherever it is written.
#[tokio::test(flavor = "multi_thread")]
async fn every_text_is_in_the_sessions_zone() {
    let (session, place, page) = (session().await, Place::new(), Page::default());
    session.conf().set("spark.sql.session.timeZone", "Asia/Tokyo").unwrap();
    place.add("in/a.json", 1, "{\"t\":\"2024-01-01T20:00:00Z\"}\n");
    let reader = session.read_stream().format("json").schema("t TIMESTAMP");
    let stream = reader.load_path(&place.text("in")).await.unwrap();
    let run = async |frame: &DataFrame, format: &str| {
        let writer = frame.write_stream().format(format).query_name(format).console_output(page.clone());
        let writer = writer.option("checkpointLocation", place.text(&format!("ck/{format}")));
        let writer =
            if format == "console" { writer } else { writer.option("path", place.text(&format!("out/{format}"))) };
        writer.trigger(Trigger::AvailableNow).start().await.unwrap().await_termination().await.unwrap();
        let mut written = String::new();
        for entry in std::fs::read_dir(place.path(&format!("out/{format}"))).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("part-") {
                written.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
        written
    };
    assert_eq!(run(&stream, "csv").await, "2024-01-02T05:00:00.000+09:00\n");
    assert_eq!(run(&stream, "json").await, "{\"t\":\"2024-01-02T05:00:00.000+09:00\"}\n");
    assert_eq!(run(&stream.select([col("t").cast("string")]).unwrap(), "text").await, "2024-01-02 05:00:00\n");
    run(&stream, "console").await;
    assert!(page.text().contains("|2024-01-02 05:00:00|"), "{}", page.text());
    let table = session.read().format("json").schema("t TIMESTAMP").load_path(&place.text("in")).await.unwrap();
    assert!(table.show_string(20, 20).await.unwrap().contains("|2024-01-02 05:00:00|"));
    table.with_column("d", to_date("t")).unwrap().write().partition_by(["t", "d"]).format("noop").save().await.unwrap();
    let parted = table.with_column("n", lit(1)).unwrap().write().partition_by(["t"]);
    parted.json(&place.text("parted")).await.unwrap();
    let directories: Vec<String> = std::fs::read_dir(place.path("parted"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("t="))
        .collect();
    assert_eq!(directories, ["t=2024-01-02 05%3A00%3A00"]);
}

/// A slip in an option's name is answered with the name that was meant, by every source and sink.
#[tokio::test(flavor = "multi_thread")]
async fn slips_in_options_are_named() {
    let (session, place) = (session().await, Place::new());
    let schema = "n INT";
    for (format, slip, meant) in [
        ("csv", "heder", "header"),
        ("json", "multiLin", "multiLine"),
        ("parquet", "mergeSchem", "mergeSchema"),
        ("text", "wholetxt", "wholetext"),
        ("rate", "rowsPerSecnd", "rowsPerSecond"),
        ("socket", "prt", "port"),
        ("rate-micro-batch", "rowsPerBach", "rowsPerBatch"),
    ] {
        let mut reader = session.read_stream().format(format).option(slip, "1");
        if ["csv", "json", "parquet"].contains(&format) {
            reader = reader.schema(schema);
        }
        if ["csv", "json", "parquet", "text"].contains(&format) {
            reader = reader.option("path", place.text("in"));
        }
        if format == "socket" {
            reader = reader.option("host", "localhost").option("port", 9);
        }
        if format == "rate-micro-batch" {
            reader = reader.option("rowsPerBatch", 9);
        }
        let error = reader.load().await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption, "{format}: {error}");
        assert!(error.message().contains(&format!("did you mean '{meant}'?")), "{format}: {error}");
    }
    let rate = session.read_stream().format("rate").load().await.unwrap();
    for (format, slip, meant) in [
        ("console", "truncat", "truncate"),
        ("csv", "heder", "header"),
        ("json", "ignoreNullField", "ignoreNullFields"),
        ("parquet", "compresion", "compression"),
        ("parquet", "checkpointLocatoin", "checkpointLocation"),
        ("console", "checkpointLocatoin", "checkpointLocation"),
        ("noop", "checkpointLocatoin", "checkpointLocation"),
        ("memory", "checkpointLocatoin", "checkpointLocation"),
    ] {
        let writer = rate.write_stream().format(format).query_name("slip").option(slip, "x");
        let writer = if ["csv", "json", "parquet"].contains(&format) {
            writer.option("path", place.text("out"))
        } else {
            writer
        };
        let error = writer.start().await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption, "{format}: {error}");
        assert!(error.message().contains(&format!("did you mean '{meant}'?")), "{format}: {error}");
    }
    assert!(!place.path("out").exists());
    // A checkpoint must not be lost to a slip where nobody else reads options, either.
    let table = MemoryTable::new(Some("slip")).unwrap();
    let slip = || rate.write_stream().option("checkpointLocatoin", place.text("ck"));
    for writer in
        [slip().table(&table), slip().foreach_batch(|_, _| async { Ok(()) }), slip().foreach(|_: &Row<'_>| Ok(()))]
    {
        let error = writer.start().await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption);
        assert!(error.message().ends_with("did you mean 'checkpointLocation'?"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_settings_that_cannot_be_are_refused() {
    let build = async |device: &str| Session::builder().config("tidemill.device", device).build().await;
    for device in ["cpu", "auto", " CPU "] {
        assert!(build(device).await.is_ok(), "{device}");
    }
    let error = build("no such adapter").await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::DeviceNotFound);
    assert!(error.message().contains("no such adapter"), "{error}");
    let session = session().await;
    let conf = session.conf();
    assert_eq!(conf.get("spark.sql.shuffle.partitions").as_deref(), Some("200"));
    assert_eq!(conf.try_get("no.such.key").unwrap_err().code(), ErrorCode::ConfNotFound);
    assert_eq!(conf.set("spark.sql.session.timeZone", "Mars/X").unwrap_err().code(), ErrorCode::ConfValueTimeZone);
    assert_eq!(conf.set("spark.sql.shuffle.partitions", "many").unwrap_err().code(), ErrorCode::ConfValueType);
    assert_eq!(conf.get("spark.sql.session.timeZone").as_deref(), Some("UTC"));
    // Those of the tutorial's tuning section are taken.
    conf.set("spark.streaming.kafka.maxRatePerPartition", "10000").unwrap();
    let provider = "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider";
    conf.set("spark.sql.streaming.stateStore.providerClass", provider).unwrap();
    conf.set("spark.sql.streaming.stateStore.rocksDB.format", "true").unwrap();
}
