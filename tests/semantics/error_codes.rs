//! Every error code is produced by something: the list of what produces each, which a new code has to join.

use crate::embedding::{numbers, panicking_udf};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use tidemill::prelude::*;

/// What produces a code.
enum Proof {
    /// This.
    Call(fn() -> BoxFuture<'static, Error>),
    /// The test of this name in this file, because it takes brokers, a bucket, or a fault.
    Test(&'static str, &'static str),
    /// Any use of a feature in a build without it; this list has the call there.
    #[cfg_attr(not(all(feature = "kafka", feature = "s3")), allow(dead_code))]
    Without(&'static str),
}

async fn session() -> Session {
    Session::builder().config("tidemill.device", "cpu").build().await.unwrap()
}

/// A stream of `k STRING, v INT, t TIMESTAMP`.
async fn rows() -> DataFrame {
    MemoryStream::new("k STRING, v INT, t TIMESTAMP").frame(&session().await).unwrap()
}

/// The numbers 0 and 1, in a column `id`.
async fn ids() -> DataFrame {
    DataFrame::range(&session().await, 0, 2, 1).unwrap()
}

/// What a value over `id` fails with.
async fn value(column: Column) -> Error {
    match ids().await.select([column]) {
        Err(error) => error,
        Ok(frame) => frame.collect().await.expect_err("a value that there is"),
    }
}

/// What a query is refused with.
async fn query(text: &str) -> Error {
    session().await.sql(text).await.expect_err(text)
}

/// What `function` of something that is not grouped by is refused with.
async fn rolled_up(function: &str) -> Error {
    let grouped = ids().await.rollup(["id"]).unwrap();
    grouped.agg([call_function(function, vec![col("id") + 1])]).unwrap_err()
}

async fn call(name: &str, arguments: Vec<Column>) -> Error {
    value(call_function(name, arguments)).await
}

/// What writing a table fails with.
async fn written(write: impl AsyncFnOnce(&str) -> Result<(), Error>) -> Error {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().to_string_lossy()).await.unwrap_err()
}

/// What a stream into Parquet files is refused with.
async fn started(frame: &DataFrame, mode: OutputMode) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let writer = frame.write_stream().output_mode(mode).option("checkpointLocation", at("checkpoint"));
    writer.start_path(&at("out")).await.err().unwrap()
}

/// What a query with a trigger for real time is refused with.
async fn real_time(frame: &DataFrame, mode: OutputMode, interval: &str) -> Error {
    let writer = frame.write_stream().output_mode(mode).trigger(Trigger::real_time(interval));
    writer.format("console").start().await.err().unwrap()
}

async fn failed() -> Error {
    let (session, stream) = (session().await, MemoryStream::new("n BIGINT"));
    stream.add(numbers(&[1])).unwrap();
    let writer = stream.frame(&session).unwrap().write_stream();
    let query =
        writer.foreach_batch(|_, _| async { Err(Error::new(ErrorCode::UserCode, "no")) }).start().await.unwrap();
    query.await_termination().await.unwrap_err()
}

/// The failure below that of a query.
fn cause(error: &Error) -> Error {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>()).expect("a cause").clone()
}

/// What the second of two queries on one checkpoint is refused with, which is another session's.
async fn second(first: Column, second: Column, stop: bool) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let (stream, table) = (MemoryStream::new("n BIGINT"), MemoryTable::new(Some("out")).unwrap());
    let start = async |total: Column| {
        let rows = stream.frame(&session().await).unwrap();
        let frame = rows.group_by(["n"]).unwrap().agg([total.alias("total")]).unwrap();
        let writer = frame.write_stream().output_mode(Update);
        let writer = writer.option("checkpointLocation", directory.path().to_string_lossy().into_owned());
        writer.table(&table).start().await
    };
    let running = start(first).await.unwrap();
    stream.add(numbers(&[1])).unwrap();
    running.process_all_available().await.unwrap();
    if stop {
        running.stop().await;
    }
    let error = start(second).await.err().unwrap();
    running.stop().await;
    error
}

/// What reading these files of JSON fails with.
async fn read(files: &[&str], schema: Option<&str>) -> Error {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{\"v\":1}\n").unwrap();
    }
    let mut reader = session().await.read().format("json");
    if let Some(schema) = schema {
        reader = reader.schema(schema);
    }
    match reader.load_path(&directory.path().to_string_lossy()).await {
        Err(error) => error,
        Ok(frame) => frame.collect().await.expect_err("files that can be read"),
    }
}

/// What a value over another, called `s`, fails with.
async fn value_of(column: Column, over: Column) -> Error {
    ids().await.select([column]).unwrap().select([over]).expect_err("a value that there is")
}

macro_rules! call {
    ($($body:tt)*) => { Proof::Call(|| Box::pin(async { $($body)* })) };
}

fn without_kafka() -> Proof {
    #[cfg(feature = "kafka")]
    return Proof::Without("kafka");
    #[cfg(not(feature = "kafka"))]
    call!(session().await.read_stream().format("kafka").load().await.unwrap_err())
}

fn without_s3() -> Proof {
    #[cfg(feature = "s3")]
    return Proof::Without("s3");
    #[cfg(not(feature = "s3"))]
    call!(tidemill::storage::Location::parse("s3a://lake/a", &Default::default()).unwrap_err())
}

fn proofs() -> Vec<(ErrorCode, Proof)> {
    use ErrorCode::*;
    use Proof::Test;
    vec![
        (UnresolvedColumn, call!(value(col("nope")).await)),
        (
            AmbiguousReference,
            call! {
                let (left, right) = (ids().await, ids().await);
                left.cross_join(&right).unwrap().select(["id"]).unwrap_err()
            },
        ),
        (DatatypeMismatch, call!(rows().await.group_by([window("k", "5 seconds")]).err().unwrap())),
        (FieldNotFound, call!(value_of(r#struct(["id"]).alias("s"), col("s.nope")).await)),
        (
            DataFrameColumn,
            call! {
                let (one, other) = (ids().await, ids().await);
                one.select([other.col("id")]).unwrap_err()
            },
        ),
        (UnresolvedFieldName, call!(ids().await.drop_duplicates(&["nope"]).unwrap_err())),
        (UnresolvedUsingColumn, call!(ids().await.join(&rows().await, "id", "inner").unwrap_err())),
        (
            JoinConditionType,
            call! {
                let (one, other) = (ids().await, rows().await);
                one.join(&other, one.col("id") + other.col("v"), "inner").unwrap_err()
            },
        ),
        (InvalidWhereCondition, call!(ids().await.filter(sum("id").gt(1)).unwrap_err())),
        (MissingAggregation, call!(rows().await.group_by(["k"]).unwrap().agg([col("v")]).unwrap_err())),
        (MissingGroupBy, call!(query("SELECT id, count(*) FROM range(1)").await)),
        (NestedAggregate, call!(ids().await.agg([sum(max("id"))]).unwrap_err())),
        (NegativeLimit, call!(query("SELECT 1 LIMIT -1").await)),
        (InvalidExpression, call!(rows().await.observe("seen", [col("v")]).unwrap_err())),
        (CannotParseInterval, call!(rows().await.with_watermark("t", "ten minutes").unwrap_err())),
        (InvalidIntervalFormat, call!(real_time(&rows().await, Update, "soon").await)),
        (ParseSyntaxError, call!(StructType::from_ddl("v BIGGISH").unwrap_err())),
        (EventTimeNotTimestamp, call!(rows().await.with_watermark("k", "1 minute").unwrap_err())),
        (
            UnsupportedDataType,
            call! {
                let nested = ids().await.select([r#struct(["id"]).alias("s")]).unwrap();
                written(async |path| nested.write().csv(&format!("{path}/out")).await).await
            },
        ),
        (
            InvalidPartitionColumn,
            call! {
                let nested = ids().await.select([col("id"), r#struct(["id"]).alias("s")]).unwrap();
                written(async |path| nested.write().partition_by(["s"]).parquet(&format!("{path}/out")).await).await
            },
        ),
        (
            AllPartitionColumns,
            call! {
                let ids = ids().await;
                written(async |path| ids.write().partition_by(["id"]).parquet(&format!("{path}/out")).await).await
            },
        ),
        (
            ColumnAlreadyExists,
            call! {
                let twice = ids().await.select([col("id"), col("id").alias("ID")]).unwrap();
                written(async |path| twice.write().parquet(&format!("{path}/out")).await).await
            },
        ),
        (ConflictingDirectoryStructures, call!(read(&["a/p=1/x.json", "b/p=1/x.json"], None).await)),
        (ConflictingPartitionColumnNames, call!(read(&["p=1/x.json", "q=1/x.json"], None).await)),
        (InvalidPartitionValue, call!(read(&["p=one/x.json"], Some("v INT, p INT")).await)),
        (UnableToInferSchema, call!(read(&[], None).await)),
        (MetricsMissingName, call!(rows().await.observe("", [count_all()]).unwrap_err())),
        (
            DuplicatedMetricsName,
            call! {
                let once = rows().await.observe("seen", [count_all().alias("rows")]).unwrap();
                once.observe("seen", [max("v").alias("most")]).unwrap_err()
            },
        ),
        (
            RedefiningWatermark,
            call! {
                let marked = rows().await.with_watermark("t", "1 minute").unwrap();
                marked.with_watermark("t", "1 minute").unwrap_err()
            },
        ),
        (OutputModeInvalid, call!(rows().await.write_stream().output_mode("upsert").start().await.err().unwrap())),
        (OutputModeUnsupported, call!(started(&rows().await.group_by(["k"]).unwrap().count().unwrap(), Append).await)),
        (
            OutputModeUnsupportedSink,
            call! {
                started(&rows().await.group_by(["k"]).unwrap().count().unwrap(), Update).await
            },
        ),
        (UnsupportedOperation, call!(rows().await.collect().await.unwrap_err())),
        (WriteStreamNotAllowed, call!(ids().await.write_stream().format("console").start().await.err().unwrap())),
        (CallOnStreamingDataset, call!(rows().await.write().format("noop").save().await.unwrap_err())),
        (InvalidSaveMode, call!(ids().await.write().mode("upsert").format("noop").save().await.unwrap_err())),
        (
            PathAlreadyExists,
            call! {
                let ids = ids().await;
                written(async |path| {
                    ids.write().parquet(path).await?;
                    ids.write().parquet(path).await
                })
                .await
            },
        ),
        (DataSourceNotFound, call!(session().await.read_stream().format("delta").load().await.unwrap_err())),
        (KafkaNotEnabled, without_kafka()),
        (S3NotEnabled, without_s3()),
        (StorageAccessDenied, Test("engine/storage/tests.rs", "refusals_of_the_store_keep_their_kind")),
        (
            InvalidOption,
            call! {
                let reader = session().await.read_stream().format("rate").option("rowsPerSecnd", 1);
                reader.load().await.unwrap_err()
            },
        ),
        (MissingOption, call!(rows().await.write_stream().format("memory").start().await.err().unwrap())),
        (TableNotFound, call!(session().await.sql("SELECT * FROM nowhere").await.err().unwrap())),
        (DataFrameNotFound, Test("engine/server/connect/tests.rs", "a_frame_of_another_session_is_not_found")),
        (
            TableExists,
            call! {
                let session = session().await;
                session.sql("CREATE VIEW v AS SELECT 1 AS n").await.unwrap();
                session.sql("CREATE VIEW v AS SELECT 1 AS n").await.err().unwrap()
            },
        ),
        (
            TempViewExists,
            call! {
                let ids = ids().await;
                ids.create_temp_view("v").unwrap();
                ids.create_temp_view("V").unwrap_err()
            },
        ),
        (
            WrongObjectType,
            call! {
                let session = session().await;
                session.sql("CREATE TABLE t (v INT) USING json LOCATION 'in'").await.unwrap();
                session.sql("DROP VIEW t").await.unwrap_err()
            },
        ),
        (ConfNotFound, call!(session().await.conf().try_get("no.such.key").unwrap_err())),
        (ConfValueType, call!(session().await.conf().set("tidemill.workers", "many").unwrap_err())),
        (
            ConfValueRequirement,
            call! {
                session().await.conf().set("spark.sql.streaming.minBatchesToRetain", 0).unwrap_err()
            },
        ),
        (ConfValueTimeZone, call!(session().await.conf().set("spark.sql.session.timeZone", "Mars").unwrap_err())),
        (ConfCore, call!(session().await.conf().set("spark.executor.memory", "1g").unwrap_err())),
        (ConfStatic, call!(session().await.conf().set("spark.sql.warehouse.dir", "w").unwrap_err())),
        (
            RealTimeSource,
            call! {
                let rate = session().await.read_stream().format("rate").load().await.unwrap();
                real_time(&rate, Update, "1 minute").await
            },
        ),
        (
            RealTimeOperator,
            call! {
                real_time(&rows().await.group_by(["k"]).unwrap().count().unwrap(), Update, "1 minute").await
            },
        ),
        (RealTimeInterval, call!(real_time(&rows().await, Update, "1 second").await)),
        (RealTimeOutputMode, call!(real_time(&rows().await, Append, "1 minute").await)),
        (
            PathNotFound,
            call! {
                session().await.read().format("text").load_path("/no/such/place").await.unwrap_err()
            },
        ),
        (SchemaRequired, call!(session().await.read_stream().format("json").load_path("rides").await.unwrap_err())),
        (
            QueryNameInUse,
            call! {
                let rows = rows().await;
                let first = rows.write_stream().format("noop").query_name("q").start().await.unwrap();
                let error = rows.write_stream().format("noop").query_name("q").start().await.err().unwrap();
                first.stop().await;
                error
            },
        ),
        (
            MalformedRecord,
            call! {
                let directory = tempfile::tempdir().unwrap();
                std::fs::write(directory.path().join("a.json"), "not json\n").unwrap();
                let reader = session().await.read().format("json").schema("v INT").option("mode", "FAILFAST");
                reader.load_path(&directory.path().to_string_lossy()).await.unwrap().collect().await.unwrap_err()
            },
        ),
        (CastInvalidInput, call!(value(lit("x").cast("int")).await)),
        (DivideByZero, call!(value(lit(1) / col("id")).await)),
        (ArithmeticOverflow, call!(value(lit(i64::MAX) + col("id")).await)),
        (RemainderByZero, call!(value(lit(1) % col("id")).await)),
        (CastOverflow, call!(value((col("id") + 300).cast("tinyint")).await)),
        (NumericValueOutOfRange, call!(value((col("id") + 300).cast("decimal(2, 0)")).await)),
        (
            IncompatibleColumnType,
            call! {
                let lists = ids().await.select([array([lit(1)])]).unwrap();
                ids().await.union(&lists).unwrap_err()
            },
        ),
        (
            NonTimeWindow,
            call! {
                let ranked = rank().over(&WindowSpec::partition_by(["k"]).order_by([col("v").asc()]));
                rows().await.select([ranked]).unwrap().write_stream().format("noop").start().await.err().unwrap()
            },
        ),
        (
            ScalarSubqueryTooManyRows,
            call! {
                let two = "SELECT (SELECT x FROM VALUES (1), (2) AS t(x))";
                session().await.sql(two).await.unwrap().collect().await.unwrap_err()
            },
        ),
        (UnresolvedRoutine, call!(call("no_such_function", vec![col("id")]).await)),
        (WrongNumArgs, call!(call("upper", vec![lit("a"), lit("b")]).await)),
        (InvalidParameterValue, call!(call("rlike", vec![col("id").cast("string"), lit("(")]).await)),
        (InvalidArrayIndex, call!(call("elt", vec![lit(5), lit("a"), lit("b")]).await)),
        (InvalidArrayIndexInElementAt, call!(value(element_at(array([lit(1)]), 5)).await)),
        (InvalidIndexOfZero, call!(value(element_at(array([lit(1)]), 0)).await)),
        (DuplicatedMapKey, call!(value(create_map([lit(1), lit("a"), lit(1), lit("b")])).await)),
        (NullMapKey, call!(value(create_map([lit_null().cast("int"), lit("a")])).await)),
        (CannotParseTimestamp, call!(call("to_timestamp", vec![lit("noon"), lit("yyyy-MM-dd")]).await)),
        (DatetimeFieldOutOfBounds, call!(value(make_date(lit(2024), lit(13), lit(1))).await)),
        (
            DatetimeOverflow,
            call! {
                call("timestampadd", vec![lit("YEAR"), lit(1_000_000), lit("2024-01-01").cast("timestamp")]).await
            },
        ),
        (InvalidFormat, call!(call("to_char", vec![lit(1), lit("9$9")]).await)),
        (FormatMismatch, call!(call("to_number", vec![lit("1234"), lit("999")]).await)),
        (ConversionInvalidInput, call!(call("to_binary", vec![lit("zz")]).await)),
        (InvalidUtf8, call!(value(call_function("validate_utf8", [call_function("unhex", [lit("80")])])).await)),
        (InvalidUrl, call!(call("parse_url", vec![lit("a b"), lit("HOST")]).await)),
        (InvalidFractionOfSecond, call!(call("make_timestamp_ntz", [2024, 1, 17, 10, 20, 61].map(lit).to_vec()).await)),
        (IntervalOverflow, call!(call("make_dt_interval", vec![lit(106_751_992)]).await)),
        (
            InvalidBitmapPosition,
            call! {
                let bitmap = call_function("bitmap_construct_agg", [col("id") + 32_767]);
                ids().await.agg([bitmap]).unwrap().collect().await.unwrap_err()
            },
        ),
        (
            VectorDimensionMismatch,
            call! {
                let (one, two) = (lit(1).cast("float"), lit(2).cast("float"));
                call("vector_inner_product", vec![array([one.clone()]), array([one, two])]).await
            },
        ),
        (
            InvalidVectorNormDegree,
            call! {
                let one = || lit(1).cast("float");
                call("vector_norm", vec![array([one()]), lit(3).cast("float")]).await
            },
        ),
        (IllegalDayOfWeek, call!(value(next_day(lit("2024-01-01").cast("date"), "someday")).await)),
        (InvalidExtractField, call!(value(date_part("FORTNIGHT", lit("2024-01-01").cast("date"))).await)),
        (UnsupportedGrouping, call!(query("SELECT grouping(id) FROM range(1) GROUP BY id").await)),
        (GroupingColumnMismatch, call!(rolled_up("grouping").await)),
        (GroupingIdColumnMismatch, call!(rolled_up("grouping_id").await)),
        (NumColumnsMismatch, call!(query("SELECT 1 AS a INTERSECT SELECT 1 AS a, 2 AS b").await)),
        (UserRaisedException, call!(value(raise_error("enough")).await)),
        (KafkaDataLoss, Test("tests/kafka/source.rs", "lost_offsets_stop_the_query_or_are_counted")),
        (Kafka, Test("tests/kafka/source.rs", "a_wrong_password_is_refused_and_never_shown")),
        (KafkaFenced, Test("tests/kafka/sink.rs", "the_newer_of_two_writers_wins")),
        (
            CheckpointIo,
            call! {
                let file = tempfile::NamedTempFile::new().unwrap();
                let writer = rows().await.write_stream().format("noop");
                let place = format!("{}/checkpoint", file.path().to_string_lossy());
                writer.option("checkpointLocation", place).start().await.err().unwrap()
            },
        ),
        (CheckpointCorrupt, Test("engine/checkpoint/tests/damage.rs", "damage_to_any_file_is_named")),
        (CheckpointVersion, Test("engine/checkpoint/tests/damage.rs", "newer_formats_are_refused_as_such")),
        (CheckpointFenced, call!(second(sum("n"), sum("n"), false).await)),
        (CheckpointIncompatible, call!(second(sum("n"), max("n"), true).await)),
        (
            DeviceNotFound,
            call! {
                Session::builder().config("tidemill.device", "gpu:no such adapter").build().await.err().unwrap()
            },
        ),
        // A gibibyte of registers; the engine passes the kernels' refusal on under this code.
        (Kernel, Test("kernels/src/cpu/tests.rs", "registers_have_a_limit")),
        (
            Io,
            call! {
                let (file, ids) = (tempfile::NamedTempFile::new().unwrap(), ids().await);
                ids.write().mode(SaveMode::Append).parquet(&file.path().to_string_lossy()).await.unwrap_err()
            },
        ),
        (UserCode, call!(cause(&failed().await))),
        (PythonException, Test("engine/server/python/tests.rs", "exceptions_come_with_their_traceback")),
        (
            PythonRunnerInitialization,
            Test("engine/server/python/tests.rs", "foreach_batch_whose_function_cannot_be_read"),
        ),
        (PythonNotFound, Test("engine/server/python/interpreter.rs", "python_that_is_not_there")),
        (StreamFailed, call!(failed().await)),
        (Internal, call!(value(panicking_udf(col("id"))).await)),
    ]
}

/// What produces each part of a code that is split further.
fn parts() -> Vec<(&'static str, Proof)> {
    fn interval(text: &str) -> Error {
        tidemill::options::parse_duration(text).unwrap_err()
    }
    vec![
        ("DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES", call!(value(col("id").eq(array([lit(1)]))).await)),
        ("DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION", call!(value(array([lit(1)]).cast("int")).await)),
        ("DATATYPE_MISMATCH.DATA_DIFF_TYPES", call!(value(col("id").isin([array([lit(1)])])).await)),
        ("DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN", call!(ids().await.filter(col("id") + 1).unwrap_err())),
        ("DATATYPE_MISMATCH.INPUT_SIZE_NOT_ONE", call!(call("mask", ["a", "QQ"].map(lit).to_vec()).await)),
        ("DATATYPE_MISMATCH.INVALID_ARG_VALUE", call!(call("to_binary", ["a", "rot13"].map(lit).to_vec()).await)),
        ("DATATYPE_MISMATCH.INVALID_JSON_SCHEMA", call!(query("SELECT from_json('1', 'INT')").await)),
        (
            "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
            call!(query("SELECT window(timestamp'2024-01-01', id) FROM range(1)").await),
        ),
        (
            "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION",
            call!(rows().await.group_by([window_sliding("t", "5 seconds", "6 seconds")]).err().unwrap()),
        ),
        (
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
            call!(rows().await.group_by([window("k", "5 seconds")]).err().unwrap()),
        ),
        ("DATATYPE_MISMATCH.UNEXPECTED_NULL", call!(query("SELECT schema_of_csv(NULL)").await)),
        (
            "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
            call!(rows().await.group_by([window("t", "0 seconds")]).err().unwrap()),
        ),
        ("INVALID_INTERVAL_FORMAT.ARITHMETIC_EXCEPTION", call!(interval("9999999999999 weeks"))),
        ("INVALID_INTERVAL_FORMAT.INPUT_IS_EMPTY", call!(interval(""))),
        ("INVALID_INTERVAL_FORMAT.INVALID_FRACTION", call!(interval("1.5 minutes"))),
        ("INVALID_INTERVAL_FORMAT.INVALID_UNIT", call!(interval("1 month"))),
        ("INVALID_INTERVAL_FORMAT.MISSING_UNIT", call!(interval("10"))),
        ("INVALID_INTERVAL_FORMAT.UNRECOGNIZED_NUMBER", call!(interval("soon"))),
        ("INVALID_PARAMETER_VALUE.BINARY_FORMAT", call!(query("SELECT to_char(X'41', 'rot13')").await)),
        ("INVALID_PARAMETER_VALUE.HMAC_ALGORITHM", call!(call("hmac", ["k", "m", "crc"].map(lit).to_vec()).await)),
        ("INVALID_FORMAT.CONT_THOUSANDS_SEPS", call!(call("to_char", vec![lit(1), lit("9,,9")]).await)),
        ("INVALID_FORMAT.CUR_MUST_BEFORE_DEC", call!(call("to_char", vec![lit(1), lit(".$9")]).await)),
        ("INVALID_FORMAT.CUR_MUST_BEFORE_DIGIT", call!(call("to_char", vec![lit(1), lit("9$")]).await)),
        ("INVALID_FORMAT.EMPTY", call!(call("to_char", vec![lit(1), lit("")]).await)),
        ("INVALID_FORMAT.THOUSANDS_SEPS_MUST_BEFORE_DEC", call!(call("to_char", vec![lit(1), lit("9.9,9")]).await)),
        ("INVALID_FORMAT.UNEXPECTED_TOKEN", call!(call("to_char", vec![lit(1), lit("L9")]).await)),
        ("INVALID_FORMAT.WRONG_NUM_DIGIT", call!(call("to_char", vec![lit(1), lit("S")]).await)),
        ("INVALID_FORMAT.WRONG_NUM_TOKEN", call!(call("to_char", vec![lit(1), lit("SS9")]).await)),
    ]
}

/// The code and its parts, as `Error::condition` writes them.
fn conditions() -> Vec<String> {
    let of = |code: &ErrorCode| {
        let parts = code.sub_conditions().iter().map(move |sub| format!("{code}.{sub}"));
        std::iter::once(code.to_string()).chain(parts.collect::<Vec<_>>())
    };
    ErrorCode::ALL.iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_code_is_produced_by_something() {
    let proofs = parts();
    let proven: Vec<&str> = proofs.iter().map(|(condition, _)| *condition).collect();
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let split: Vec<String> = conditions().into_iter().filter(|one| !codes.contains(&one.as_str())).collect();
    assert_eq!(proven, split);
    for (condition, proof) in proofs {
        let Proof::Call(call) = proof else { panic!("{condition} has no call") };
        let error = tokio::spawn(call()).await.unwrap();
        assert_eq!(error.condition(), condition, "{error}");
        assert!(error.to_string().starts_with(&format!("[{condition}] ")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_is_produced_by_something() {
    let mut proofs: BTreeMap<&str, (ErrorCode, Proof)> =
        proofs().into_iter().map(|(code, proof)| (code.as_str(), (code, proof))).collect();
    let mut wrong = Vec::new();
    for code in ErrorCode::ALL {
        match proofs.remove(code.as_str()).map(|(_, proof)| proof) {
            None => wrong.push(format!("{code:?} is not in the list; add what produces it")),
            Some(Proof::Call(call)) => match tokio::spawn(call()).await {
                Ok(error) if error.code() == *code => {}
                Ok(error) => wrong.push(format!("{code:?} was expected, and came {error}")),
                Err(panic) => wrong.push(format!("{code:?}: {panic}")),
            },
            Some(Proof::Test(file, name)) => {
                let text =
                    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
                if !text.contains(&format!("fn {name}()")) {
                    wrong.push(format!("{code:?}: there is no test {name} in {file}"));
                }
            }
            Some(Proof::Without(feature)) => assert!(["kafka", "s3"].contains(&feature)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(proofs.is_empty(), "the list names codes that there are not: {:?}", proofs.keys());
}

/// The table of codes in the documentation has each of them, with a cause and a way out.
#[test]
fn every_code_is_explained() {
    let table = include_str!("../../engine/errors.md");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let explained: BTreeMap<&str, usize> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].trim_matches('`'), cells.iter().filter(|cell| !cell.is_empty()).count())
        })
        .collect();
    let conditions = conditions();
    for condition in &conditions {
        assert_eq!(explained.get(condition.as_str()), Some(&3), "{condition} in engine/errors.md");
    }
    assert_eq!(explained.len(), conditions.len(), "engine/errors.md has codes that there are not");
}
