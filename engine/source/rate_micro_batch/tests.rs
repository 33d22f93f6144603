use super::*;
use crate::options::Options;
use crate::source::Chunk;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use std::sync::Arc;

fn source(options: &[(&str, &str)]) -> Result<RateMicroBatchSource> {
    let options = Options::from_iter(options.iter().copied());
    let mut reader = options.reader("the rate-micro-batch source");
    let source = RateMicroBatchSource::new(&mut reader)?;
    reader.finish()?;
    Ok(source)
}

/// Microseconds and values.
async fn rows(source: &mut RateMicroBatchSource, start: &Offset, end: &Offset, chunk_bytes: usize) -> Vec<(i64, i64)> {
    let request = ReadRequest { projection: vec![0, 1], chunk_bytes, stop: Arc::default() };
    let mut chunks = source.read(start, end, &request).await.unwrap();
    let mut rows = Vec::new();
    while let Some(Chunk::Deferred(load)) = chunks.next().unwrap() {
        let (batch, _) = load().unwrap();
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
        rows.extend(times.iter().copied().zip(batch.column(1).as_primitive::<Int64Type>().values().iter().copied()));
    }
    rows
}

#[tokio::test]
async fn every_batch_has_its_rows_and_its_time_as_in_spark() {
    let mut source =
        source(&[("rowsPerBatch", "3"), ("startTimestamp", "1000"), ("advanceMillisPerBatch", "50")]).unwrap();
    let mut at = source.initial().await.unwrap();
    assert_eq!(at, json!({"offset": 0, "timestamp": 1000}));
    for (end, expected) in [
        (json!({"offset": 3, "timestamp": 1050}), vec![(1_000_000, 0), (1_000_000, 1), (1_000_000, 2)]),
        (json!({"offset": 6, "timestamp": 1100}), vec![(1_050_000, 3), (1_050_000, 4), (1_050_000, 5)]),
    ] {
        let proposal = source.propose(&at, Admission::Limited).await.unwrap();
        assert_eq!(proposal.end, end);
        assert_eq!(rows(&mut source, &at, &end, 32).await, expected, "in chunks of two");
        assert_eq!(rows(&mut source, &at, &end, 1 << 20).await, expected);
        at = proposal.end;
    }
    assert_eq!(rows(&mut source, &at, &at, 32).await, []);
}

#[tokio::test]
async fn available_now_is_one_batch() {
    let mut source =
        source(&[("rowsPerBatch", "5"), ("numPartitions", "2"), ("advanceMillisPerMicroBatch", "7")]).unwrap();
    assert_eq!(
        source.description(),
        "RatePerMicroBatchStream[rowsPerBatch=5, numPartitions=2, startTimestamp=0, advanceMsPerBatch=7]"
    );
    source.freeze().await.unwrap();
    let start = json!({"offset": 10, "timestamp": 14});
    let end = source.propose(&start, Admission::Limited).await.unwrap().end;
    assert_eq!(end, json!({"offset": 15, "timestamp": 21}));
    assert_eq!(source.propose(&end, Admission::Limited).await.unwrap().end, end);
}

#[tokio::test]
async fn refusals() {
    let rows = ("rowsPerBatch", "3");
    for (options, part) in [
        (vec![], "'rowsPerBatch'"),
        (vec![("rowsPerBatch", "0")], "'rowsPerBatch'"),
        (vec![rows, ("startTimestamp", "-1")], "'startTimestamp'"),
        (vec![rows, ("advanceMillisPerBatch", "-1")], "'advanceMillisPerBatch'"),
        (vec![rows, ("advanceMillisPerBatch", "1"), ("advanceMillisPerMicroBatch", "1")], "leave one out"),
        (vec![rows, ("numPartitions", "0")], "'numPartitions'"),
        (vec![rows, ("rowsPerSecond", "1")], "'rowsPerSecond'"),
    ] {
        let error = source(&options).err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption);
        assert!(error.message().contains(part), "{error}");
    }
    let mut source = source(&[rows]).unwrap();
    let last = json!({"offset": i64::MAX - 1, "timestamp": 0});
    assert_eq!(source.propose(&last, Admission::Limited).await.unwrap_err().code(), ErrorCode::ArithmeticOverflow);
    let wrong = source.propose(&json!(7), Admission::Limited).await.unwrap_err();
    assert_eq!(wrong.code(), ErrorCode::CheckpointCorrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reads_it_by_format_name() {
    use crate::prelude::*;
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let table = MemoryTable::new(Some("rows")).unwrap();
    let frame = session.read_stream().format("rate-micro-batch").option("rowsPerBatch", 5).load().await.unwrap();
    let query = frame.write_stream().table(&table).trigger(Trigger::AvailableNow).start().await.unwrap();
    query.await_termination().await.unwrap();
    let rows = table.concat().unwrap();
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().values().to_vec(), [0, 1, 2, 3, 4]);
    assert_eq!(query.last_progress().unwrap().sources[0].end_offset, Some(json!({"offset": 5, "timestamp": 1000})));
}
