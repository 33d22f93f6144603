//! Python functions in real workers, where there is a Python with PySpark.

use super::{
    ForeachBatchWorker, ForeachPythonSink, GroupedInput, Workers, aggregate_udf, map_batches, map_groups, refuse,
    scalar_udf,
};
use crate::error::{Error, ErrorCode, Result};
use crate::sink::{OutputMode, Prepared, Sink, Writer};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use skip::skipped;
use spark_connect_proto::PythonUdf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;
use uuid::Uuid;

#[path = "../../../tests/support/skip.rs"]
pub(crate) mod skip;

/// The workers of the Python that tests run, if there is one.
fn workers(test: &str) -> Option<Workers> {
    let workers = Workers::new(std::env::var("TIDEMILL_TEST_PYTHON").ok());
    match workers.interpreter() {
        Ok(_) => Some(workers),
        Err(_) => {
            skipped(test, "no Python with PySpark");
            None
        }
    }
}

/// What a client sends: the pickle of `value`, an expression after the statements of `source`.
fn pickled(workers: &Workers, source: &str, value: &str, eval_type: i32) -> PythonUdf {
    all_pickled(workers, source, &[value.to_string()], eval_type).remove(0)
}

/// The pickles of several values, by one Python.
fn all_pickled(workers: &Workers, source: &str, values: &[String], eval_type: i32) -> Vec<PythonUdf> {
    let python = workers.interpreter().unwrap();
    let program = format!(
        "import sys\nfrom pyspark.serializers import CloudPickleSerializer\nfrom pyspark.sql.types import *\n{source}\n\
         for value in [{}]: CloudPickleSerializer()._write_with_length(value, sys.stdout.buffer)",
        values.join(", ")
    );
    let output = Command::new(python.program()).args(["-c", &program]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let python_ver = python.version().to_string();
    let mut pickles = output.stdout.as_slice();
    let command = |_: &String| super::wire::read_bytes(&mut pickles).unwrap().into();
    let commands = values.iter().map(command);
    commands
        .map(|command| PythonUdf { command, python_ver: python_ver.clone(), eval_type, ..PythonUdf::default() })
        .collect()
}

/// A function from columns to a column: `f`, which `source` defines, with the type `returns` of PySpark.
fn function(
    workers: &Workers,
    source: &str,
    returns: &str,
    eval_type: i32,
    data_type: DataType,
    keywords: &[&str],
) -> ScalarUDF {
    let udf = pickled(workers, source, &format!("(f, {returns})"), eval_type);
    let keywords: Vec<String> = keywords.iter().map(|keyword| keyword.to_string()).collect();
    scalar_udf(workers, "f", true, &udf, data_type, &keywords).unwrap()
}

fn call(function: &ScalarUDF, columns: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
    let arg_fields = columns.iter().map(|column| Arc::new(Field::new("c", column.data_type().clone(), true))).collect();
    let called = function.invoke_with_args(ScalarFunctionArgs {
        args: columns.into_iter().map(ColumnarValue::Array).collect(),
        arg_fields,
        number_rows: rows,
        return_field: Arc::new(Field::new("f", function.return_type(&[])?, true)),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    Ok(called.into_array(rows)?)
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// The values as text, NULL as nothing.
fn texts(column: &ArrayRef) -> Vec<String> {
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap();
    (0..column.len()).map(|row| formatter.value(row).to_string()).collect()
}

#[test]
fn every_kind_of_scalar_function() {
    let Some(workers) = workers("every_kind_of_scalar_function") else { return };
    let row = "def f(a, b):\n    return None if b is None else a + len(b)";
    let series = "def f(a, b):\n    return a + b.str.len().fillna(0).astype('int64')";
    let iterator = "def f(parts):\n    for a, b in parts:\n        yield a + b.str.len().fillna(0).astype('int64')";
    let arrays = "import pyarrow.compute as pc\ndef f(a, b):\n    return pc.add(a, pc.utf8_length(b).cast('int64'))";
    let array_iterator = "import pyarrow.compute as pc\ndef f(parts):\n    for a, b in parts:\n        yield pc.add(a, pc.utf8_length(b).cast('int64'))";
    let (nulls, zeros) = ([Some(2), None, Some(3)], [Some(2), Some(2), Some(3)]);
    for (eval_type, source, expected) in [
        (100, row, nulls),
        (101, row, nulls),
        (200, series, zeros),
        (204, iterator, zeros),
        (250, arrays, nulls),
        (251, array_iterator, nulls),
    ] {
        let f = function(&workers, source, "LongType()", eval_type, DataType::Int64, &[]);
        let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("")]));
        let column = call(&f, vec![longs(&[1, 2, 3]), strings], 3).unwrap();
        let found: Vec<_> = column.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(found, expected, "kind {eval_type}");
        // The worker that this one runs in is the same, and no rows do not need one.
        assert_eq!(call(&f, vec![longs(&[]), Arc::new(StringArray::from(Vec::<&str>::new()))], 0).unwrap().len(), 0);
    }
    workers.stop();
}

#[test]
fn arguments_by_name_and_none_at_all() {
    let Some(workers) = workers("arguments_by_name_and_none_at_all") else { return };
    for eval_type in [100, 101, 250] {
        let f = function(
            &workers,
            "import pyarrow as pa, pyarrow.compute as pc\n\
             def f(a, *, low, high): return pc.add(pc.multiply(a, 100), pc.subtract(high, low)) if isinstance(a, pa.Array) else a * 100 + high - low",
            "LongType()",
            eval_type,
            DataType::Int64,
            &["high", "low"],
        );
        let column = call(&f, vec![longs(&[1]), longs(&[9]), longs(&[2])], 1).unwrap();
        assert_eq!(column.as_primitive::<Int64Type>().values(), &[107], "kind {eval_type}");
    }
    for eval_type in [100, 101] {
        let f = function(&workers, "def f(): return 7", "IntegerType()", eval_type, DataType::Int32, &[]);
        let column = call(&f, vec![], 3).unwrap();
        assert_eq!(column.as_primitive::<Int32Type>().values(), &[7, 7, 7], "kind {eval_type}");
    }
    workers.stop();
}

#[test]
fn plain_functions_return_what_the_jvm_makes_of_it() {
    let Some(workers) = workers("plain_functions_return_what_the_jvm_makes_of_it") else { return };
    let list = DataType::List(Arc::new(Field::new("element", DataType::Int32, true)));
    let pair =
        DataType::Struct(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)].into());
    let returns = [
        ("IntegerType()", DataType::Int32, "1", "1"),
        ("IntegerType()", DataType::Int32, "2**31", "-2147483648"),
        ("IntegerType()", DataType::Int32, "2**63", ""),
        ("IntegerType()", DataType::Int32, "1.5", ""),
        ("IntegerType()", DataType::Int32, "True", ""),
        ("ByteType()", DataType::Int8, "300", "44"),
        ("DoubleType()", DataType::Float64, "1", ""),
        ("DoubleType()", DataType::Float64, "1.5", "1.5"),
        ("BooleanType()", DataType::Boolean, "1", ""),
        ("StringType()", DataType::Utf8, "False", "false"),
        ("StringType()", DataType::Utf8, "1e20", "1.0E20"),
        ("StringType()", DataType::Utf8, "12345678.9", "1.23456789E7"),
        ("StringType()", DataType::Utf8, "float('inf')", "Infinity"),
        ("StringType()", DataType::Utf8, "[1, 2, None, 'a']", "[1, 2, null, a]"),
        ("StringType()", DataType::Utf8, "{'a': 1, 'b': None}", "{a=1, b=null}"),
        ("StringType()", DataType::Utf8, "decimal.Decimal('1E+3')", "1E+3"),
        ("DecimalType(10, 2)", DataType::Decimal128(10, 2), "decimal.Decimal('1.545')", "1.55"),
        ("DecimalType(10, 2)", DataType::Decimal128(10, 2), "1.5", ""),
        ("DateType()", DataType::Date32, "datetime.datetime(2020, 1, 2, 3)", "2020-01-02"),
        ("BinaryType()", DataType::Binary, "'ab'", "6162"),
        ("BinaryType()", DataType::Binary, "[1, 2]", ""),
        ("ArrayType(IntegerType())", list.clone(), "[1, None, 'a', 2.0]", "[1, , , ]"),
        ("ArrayType(IntegerType())", list, "'ab'", ""),
        ("StructType().add('a', 'integer').add('b', 'string')", pair.clone(), "{'a': 1}", "{a: 1, b: }"),
        ("StructType().add('a', 'integer').add('b', 'string')", pair.clone(), "[1, 2]", "{a: 1, b: 2}"),
        ("StructType().add('a', 'integer').add('b', 'string')", pair, "(1,)", "STRUCT_ARRAY_LENGTH_MISMATCH]"),
        (
            "DecimalType(10, 2)",
            DataType::Decimal128(10, 2),
            "decimal.Decimal(123456789012)",
            "NUMERIC_VALUE_OUT_OF_RANGE",
        ),
    ];
    let values: Vec<String> =
        returns.iter().map(|(returns, _, value, _)| format!("(lambda x: {value}, {returns})")).collect();
    let functions = all_pickled(&workers, "import decimal, datetime", &values, 100);
    for ((python_type, data_type, value, expected), udf) in returns.into_iter().zip(functions) {
        let function = scalar_udf(&workers, "f", true, &udf, data_type, &[]).unwrap();
        match call(&function, vec![longs(&[0])], 1) {
            Ok(column) => assert_eq!(texts(&column), [expected], "{value} as {python_type}"),
            Err(error) => {
                assert!(
                    !expected.is_empty() && error.message().contains(&format!("[{expected}")),
                    "{value} as {python_type}: {error}"
                )
            }
        }
    }
    workers.stop();
}

#[test]
fn values_of_every_type_arrive_as_pythons() {
    let Some(workers) = workers("values_of_every_type_arrive_as_pythons") else { return };
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let columns = || -> Vec<ArrayRef> {
        let numbers = longs(&[5]);
        let cast = |to: &DataType| arrow::compute::cast(&numbers, to).unwrap();
        let strings: ArrayRef = Arc::new(StringArray::from(vec!["é"]));
        let pair = arrow::array::StructArray::from(vec![
            (Arc::new(Field::new("n", DataType::Int64, true)), numbers.clone()),
            (Arc::new(Field::new("s", DataType::Utf8, true)), strings.clone()),
        ]);
        vec![
            cast(&DataType::Int8),
            Arc::new(Float64Array::from(vec![0.5])),
            Arc::new(BooleanArray::from(vec![true])),
            arrow::compute::cast(&strings, &DataType::Utf8View).unwrap(),
            arrow::compute::cast(&strings, &DataType::Binary).unwrap(),
            cast(&DataType::Decimal128(10, 2)),
            arrow::compute::cast(&Int32Array::from(vec![5]), &DataType::Date32).unwrap(),
            Arc::new(TimestampMicrosecondArray::from(vec![5]).with_timezone("UTC")),
            Arc::new(pair),
            Arc::new(arrow::array::NullArray::new(1)),
        ]
    };
    assert_eq!(columns()[7].data_type(), &instant);
    let source = "def f(*values):\n    import datetime\n    \
         values = [v.astimezone(datetime.timezone.utc).isoformat() if isinstance(v, datetime.datetime) else v for v in values]\n    \
         return repr(values)";
    for eval_type in [100, 101] {
        let f = function(&workers, source, "StringType()", eval_type, DataType::Utf8, &[]);
        let column = call(&f, columns(), 1).unwrap();
        assert_eq!(
            column.as_string::<i32>().value(0),
            "[5, 0.5, True, 'é', b'\\xc3\\xa9', Decimal('5.00'), datetime.date(1970, 1, 6), '1970-01-01T00:00:00.000005+00:00', \
             Row(n=5, s='é'), None]",
            "kind {eval_type}"
        );
    }
    workers.stop();
}

#[test]
fn large_input_comes_in_batches() {
    let Some(workers) = workers("large_input_comes_in_batches") else { return };
    let small = workers.with_configuration(|key| {
        (key == "spark.sql.execution.arrow.maxRecordsPerBatch").then(|| "400000".to_string())
    });
    let f = function(
        &small,
        "import pandas as pd\ndef f(a): return pd.Series([len(a)] * len(a))",
        "LongType()",
        200,
        DataType::Int64,
        &[],
    );
    // More than a pipe holds in both directions.
    let rows: Vec<i64> = (0..1_000_000).collect();
    let column = call(&f, vec![longs(&rows)], rows.len()).unwrap();
    let counts = column.as_primitive::<Int64Type>().values();
    assert_eq!((counts[0], counts[399_999], counts[400_000], counts[999_999]), (400_000, 400_000, 400_000, 200_000));
    workers.stop();
}

#[test]
fn exceptions_come_with_their_traceback() {
    let Some(workers) = workers("exceptions_come_with_their_traceback") else { return };
    for eval_type in [100, 101] {
        let f = function(
            &workers,
            "def f(x):\n    raise ValueError('boom %d' % x)",
            "LongType()",
            eval_type,
            DataType::Int64,
            &[],
        );
        let error = call(&f, vec![longs(&[4])], 1).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PythonException);
        let text = error.message();
        assert!(
            text.starts_with("An exception was thrown from the Python worker: Traceback (most recent call last):\n"),
            "{text}"
        );
        assert!(text.contains(", in f\n"), "{text}");
        assert!(text.ends_with("ValueError: boom 4\n"), "{text}");
        // PySpark's frames and this project's are left out, as Spark leaves its own out.
        assert_eq!(text.matches("  File ").count(), 1, "{text}");
    }
    let f = function(
        &workers,
        "def f(x):\n    import os, sys\n    print('last words', file=sys.stderr)\n    os._exit(3)",
        "LongType()",
        101,
        DataType::Int64,
        &[],
    );
    let error = call(&f, vec![longs(&[4])], 1).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UserCode);
    assert_eq!(error.message(), "Python worker exited unexpectedly (crashed): exit status: 3\nlast words");
    // Others start anew.
    let f = function(&workers, "def f(x): return x + 1", "LongType()", 101, DataType::Int64, &[]);
    assert_eq!(call(&f, vec![longs(&[4])], 1).unwrap().as_primitive::<Int64Type>().values(), &[5]);
    let f = function(&workers, "def f(a): return a[:1]", "LongType()", 200, DataType::Int64, &[]);
    let error = call(&f, vec![longs(&[4, 5])], 2).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PythonException);
    assert!(error.message().contains("RESULT_ROWS_MISMATCH"), "{error}");
    workers.stop();
    let error = call(&f, vec![longs(&[4])], 1).unwrap_err();
    assert!(error.message().contains("the session has ended"), "{error}");
}

#[test]
fn what_is_not_run_is_refused() {
    let error = refuse("f", 211);
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert!(error.message().contains("f is a SQL_TRANSFORM_WITH_STATE_PANDAS_UDF (211)"), "{error}");
    // Before a Python is looked for.
    let nowhere = Workers::new(Some("no-such-python".to_string()));
    let udf = |eval_type| PythonUdf { eval_type, python_ver: "3.11".to_string(), ..PythonUdf::default() };
    let code = |eval_type| scalar_udf(&nowhere, "f", true, &udf(eval_type), DataType::Int64, &[]).unwrap_err().code();
    assert_eq!((code(201), code(101)), (ErrorCode::UnsupportedOperation, ErrorCode::PythonNotFound));
}

#[test]
fn workers_are_used_again_and_stopped_in_the_middle_of_a_call() {
    let Some(workers) = workers("workers_are_used_again_and_stopped_in_the_middle_of_a_call") else { return };
    let pid = function(&workers, "import os\ndef f(x): return os.getpid()", "LongType()", 101, DataType::Int64, &[]);
    let first = call(&pid, vec![longs(&[1])], 1).unwrap();
    let second = call(&pid, vec![longs(&[1])], 1).unwrap();
    assert_eq!(first.as_primitive::<Int64Type>().value(0), second.as_primitive::<Int64Type>().value(0));
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("started");
    let source = format!(
        "def f(x):\n    import os, signal\n    os.mkfifo({started:?})\n    open({started:?}, 'w').close()\n    signal.pause()"
    );
    let endless = function(&workers, &source, "LongType()", 101, DataType::Int64, &[]);
    let stopping = workers.clone();
    let running = std::thread::spawn(move || call(&endless, vec![longs(&[1])], 1).unwrap_err());
    // The function has begun when there is a pipe, and goes on when it has been opened.
    while !started.exists() {
        std::thread::yield_now();
    }
    drop(std::fs::File::open(&started).unwrap());
    stopping.stop();
    assert!(running.join().unwrap().message().contains("the session has ended"));
}

/// Runs batches of the numbers given through a sink.
async fn run_foreach(sink: &mut ForeachPythonSink, batches: &[&[i64]]) -> Result<()> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    sink.check(OutputMode::Append, &schema).await?;
    let (query_id, run_id) = (Uuid::new_v4(), Uuid::new_v4());
    sink.open(&Writer { query_id, run_id, epoch: 1, mode: OutputMode::Append, schema: schema.clone() }).await?;
    for (batch, ids) in (0..).zip(batches) {
        let rows = RecordBatch::try_new(schema.clone(), vec![longs(ids)]).unwrap();
        let attempt = Uuid::new_v4();
        let payload = sink.stage(batch, attempt, &[rows]).await?;
        sink.publish(&Prepared { batch, attempt, payload }).await?;
    }
    Ok(())
}

/// What PySpark makes of `f` for `foreach`.
const FOREACH: &str = "(DataStreamWriter._construct_foreach_function(f), None, ser, ser)";

fn foreach(workers: &Workers, source: &str) -> ForeachPythonSink {
    let source = format!(
        "from pyspark.sql.streaming.readwriter import DataStreamWriter\n\
         from pyspark.serializers import AutoBatchedSerializer, CPickleSerializer\n\
         ser = AutoBatchedSerializer(CPickleSerializer())\n{source}"
    );
    ForeachPythonSink::new(workers, &pickled(workers, &source, FOREACH, 0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn foreach_runs_functions_and_objects() {
    let Some(workers) = workers("foreach_runs_functions_and_objects") else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let read = || std::fs::read_to_string(&log).unwrap();
    let say = format!("def say(*words):\n    with open({log:?}, 'a') as log: print(*words, file=log)\n");
    let mut plain = foreach(&workers, &format!("{say}def f(row): say(row, row.id)"));
    assert_eq!(plain.description(), "ForeachWriterTable");
    run_foreach(&mut plain, &[&[1, 2], &[], &[3]]).await.unwrap();
    assert_eq!(read(), "Row(id=1) 1\nRow(id=2) 2\nRow(id=3) 3\n");
    std::fs::remove_file(&log).unwrap();
    let writer = format!(
        "{say}class W:\n    def open(self, partition, epoch):\n        say('open', partition, epoch)\n        return epoch != 1\n    \
         def process(self, row):\n        say(row.id)\n        if row.id == 9: raise KeyError('nine')\n    \
         def close(self, error): say('close', repr(error))\nf = W()"
    );
    let mut object = foreach(&workers, &writer);
    let error = run_foreach(&mut object, &[&[1, 2], &[3], &[4, 9, 5]]).await.unwrap_err();
    assert_eq!(read(), "open 0 0\n1\n2\nclose None\nopen 0 1\nclose None\nopen 0 2\n4\n9\nclose KeyError('nine')\n");
    assert_eq!(error.code(), ErrorCode::PythonException);
    assert!(error.message().ends_with("KeyError: 'nine'\n"), "{error}");
    workers.stop();
}

/// A server that takes connections and closes them: what a client meets that does not call anything.
async fn nobody() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = super::local_url(listener.local_addr().unwrap(), "tester");
    (listener, url)
}

async fn start(workers: &Workers, source: &str) -> Result<ForeachBatchWorker, Error> {
    let udf = pickled(workers, source, "f", 0);
    let (_listener, url) = nobody().await;
    let python = workers.interpreter()?;
    ForeachBatchWorker::start(&python, &url, &Uuid::new_v4().to_string(), &udf).await
}

#[tokio::test(flavor = "multi_thread")]
async fn foreach_batch_calls_the_function_of_a_client() {
    let Some(workers) = workers("foreach_batch_calls_the_function_of_a_client") else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    // A frame that is forgotten is released at the server, which there is none of here.
    let source = format!(
        "frames = []\ndef f(frame, batch):\n    frames.append(frame)\n    if batch == 2: raise ValueError('batch two')\n    \
         with open({log:?}, 'a') as log: print(type(frame).__module__, type(frame).__name__, frame._plan._relation_id, batch, frame.sparkSession.session_id, file=log)"
    );
    let mut worker = start(&workers, &source).await.unwrap();
    let session = Uuid::new_v4().to_string();
    worker.call("frame-0", 0, &session).await.unwrap();
    worker.call("frame-1", 1, &session).await.unwrap();
    let expected = format!(
        "pyspark.sql.connect.dataframe DataFrame frame-0 0 {session}\npyspark.sql.connect.dataframe DataFrame frame-1 1 {session}\n"
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
    let error = worker.call("frame-2", 2, &session).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PythonException);
    let text = error.message();
    assert!(
        text.starts_with("Found error inside foreachBatch Python process: Traceback (most recent call last):\n"),
        "{text}"
    );
    assert!(text.ends_with("ValueError: batch two\n"), "{text}");
    let error = worker.call("frame-3", 3, &session).await.unwrap_err();
    assert!(error.message().contains("has ended with an earlier failure"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreach_batch_tells_of_a_worker_that_ends() {
    let Some(workers) = workers("foreach_batch_tells_of_a_worker_that_ends") else { return };
    let mut worker = start(&workers, "import os\ndef f(frame, batch): os._exit(7)").await.unwrap();
    let error = worker.call("frame", 0, &Uuid::new_v4().to_string()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UserCode);
    assert!(error.message().starts_with("Python worker exited unexpectedly (crashed): exit status: 7"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreach_batch_whose_function_cannot_be_read() {
    let Some(workers) = workers("foreach_batch_whose_function_cannot_be_read") else { return };
    let udf = PythonUdf { command: b"no pickle".as_slice().into(), ..PythonUdf::default() };
    let (_listener, url) = nobody().await;
    let python = workers.interpreter().unwrap();
    let error = ForeachBatchWorker::start(&python, &url, &Uuid::new_v4().to_string(), &udf).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::PythonRunnerInitialization);
    assert!(error.message().starts_with("Streaming Runner initialization failed, cause: "), "{error}");
    assert!(error.message().contains("UnpicklingError"), "{error}");
}

fn ids_and_names(ids: &[i64], names: &[&str]) -> RecordBatch {
    let fields = vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)];
    let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![longs(ids), names]).unwrap()
}

/// The rows as text.
fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let batches = batches.iter().map(|batch| Arc::new(arrow::array::StructArray::from(batch.clone())) as ArrayRef);
    batches.flat_map(|rows| texts(&rows)).collect()
}

#[test]
fn rows_to_rows() {
    let Some(workers) = workers("rows_to_rows") else { return };
    let input = ids_and_names(&[1, 2], &["a", "b"]);
    let output = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
    let pandas = "import pandas as pd\ndef f(parts):\n    for part in parts:\n        \
                  yield pd.DataFrame({'text': part['name'] * part['id']})\n        yield pd.DataFrame({'text': ['end']})";
    let arrow = "import pyarrow as pa\ndef f(parts):\n    for part in parts:\n        \
                 rows = part.to_pylist()\n        \
                 yield pa.RecordBatch.from_pydict({'text': [row['name'] * row['id'] for row in rows] + ['end']})";
    for (eval_type, source) in [(205, pandas), (207, arrow)] {
        let udf = pickled(&workers, source, "(f, StructType().add('text', 'string'))", eval_type);
        let map = |output| map_batches(&workers, "f", &udf, &input.schema(), &[input.clone(), input.clone()], output);
        let found = rows(&map(&output).unwrap());
        assert_eq!(found, ["{text: a}", "{text: bb}", "{text: end}", "{text: a}", "{text: bb}", "{text: end}"]);
        let wrong = Arc::new(Schema::new(vec![Field::new("text", DataType::Int64, true)]));
        let error = map(&wrong).unwrap_err();
        assert_eq!(
            error.message(),
            "the Python function f returned a column text of the type Utf8, and declares text Int64"
        );
    }
    let scalar = PythonUdf { eval_type: 101, ..PythonUdf::default() };
    let error = map_batches(&workers, "f", &scalar, &input.schema(), &[], &output).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    workers.stop();
}

#[test]
fn groups_to_rows() {
    let Some(workers) = workers("groups_to_rows") else { return };
    let groups = [ids_and_names(&[1, 2], &["a", "a"]), ids_and_names(&[3], &["b"])];
    let fields = vec![Field::new("name", DataType::Utf8, true), Field::new("total", DataType::Int64, true)];
    let output = Arc::new(Schema::new(fields));
    let pandas =
        "import pandas as pd\ndef f(key, rows): return pd.DataFrame({'total': [rows['id'].sum()], 'name': [key[0]]})";
    let arrow = "import pyarrow as pa, pyarrow.compute as pc\n\
                 def f(key, rows): return pa.Table.from_pydict({'name': [key[0].as_py()], 'total': [pc.sum(rows['id']).as_py()]})";
    let columns = "(f, StructType().add('name', 'string').add('total', 'long'))";
    for (eval_type, source) in [(201, pandas), (209, arrow)] {
        let udf = pickled(&workers, source, columns, eval_type);
        let input = GroupedInput { schema: groups[0].schema(), keys: vec![1], values: vec![0, 1] };
        let returned = map_groups(&workers, "f", &udf, &input, &groups, &output).unwrap();
        assert_eq!(rows(&returned), ["{name: a, total: 3}", "{name: b, total: 3}"], "kind {eval_type}");
    }
    workers.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_to_values() {
    let Some(workers) = workers("groups_to_values") else { return };
    let pandas = "def f(a): return float(a.median())";
    let arrow = "import pyarrow.compute as pc\ndef f(a): return pc.quantile(a, 0.5)[0].as_py()";
    let parts = "import pandas as pd\ndef f(parts): return float(pd.concat(list(parts)).median())";
    for (eval_type, source) in [(202, pandas), (217, parts), (252, arrow)] {
        let udf = pickled(&workers, source, "(f, DoubleType())", eval_type);
        let median = aggregate_udf(&workers, "f", true, &udf, DataType::Float64, &[]).unwrap();
        let context = datafusion::prelude::SessionContext::new();
        let rows = ids_and_names(&[1, 7, 2, 9, 3], &["a", "b", "a", "b", "a"]);
        let frame = context.read_batch(rows).unwrap();
        let by_name = vec![datafusion::prelude::col("name")];
        let frame =
            frame.aggregate(by_name, vec![median.call(vec![datafusion::prelude::col("id")]).alias("m")]).unwrap();
        let frame = frame.sort_by(vec![datafusion::prelude::col("name")]).unwrap();
        let found = self::rows(&frame.collect().await.unwrap());
        assert_eq!(found, ["{name: a, m: 2.0}", "{name: b, m: 8.0}"], "kind {eval_type}");
    }
    workers.stop();
}
