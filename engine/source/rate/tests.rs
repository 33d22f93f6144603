use super::*;
use crate::options::Options;
use crate::source::test_log::MemoryLog;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use std::sync::atomic::{AtomicI64, Ordering};

const START: i64 = 1_700_000_000_500;

struct Trial {
    now: Arc<AtomicI64>,
    source: RateSource,
}

async fn trial(options: &[(&str, &str)], log: &MemoryLog, start: i64) -> Trial {
    let now = Arc::new(AtomicI64::new(start));
    let ticking = now.clone();
    let options = Options::from_iter(options.iter().copied());
    let mut reader = options.reader("the rate source");
    let mut source = RateSource::new(&mut reader, Arc::new(move || ticking.load(Ordering::SeqCst))).unwrap();
    reader.finish().unwrap();
    source.open(Arc::new(log.clone())).await.unwrap();
    Trial { now, source }
}

/// Milliseconds since the start and value of every row, and the rows of each chunk.
async fn rows(
    source: &mut RateSource,
    start: Offset,
    end: Offset,
    chunk_bytes: usize,
) -> (Vec<(i64, i64)>, Vec<usize>) {
    let request = ReadRequest { projection: vec![0, 1], chunk_bytes, stop: Arc::default() };
    let mut chunks = source.read(&start, &end, &request).await.unwrap();
    let (mut rows, mut sizes) = (Vec::new(), Vec::new());
    while let Some(Chunk::Deferred(load)) = chunks.next().unwrap() {
        let (batch, _) = load().unwrap();
        assert_eq!(batch.schema(), source.schema());
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
        let values = batch.column(1).as_primitive::<Int64Type>().values();
        rows.extend(times.iter().zip(values).map(|(time, value)| (time / 1000 - START, *value)));
        sizes.push(batch.num_rows());
    }
    (rows, sizes)
}

#[tokio::test]
async fn batch_zero_is_empty_and_later_ones_have_whole_seconds() {
    let mut trial = trial(&[("rowsPerSecond", "4"), ("numPartitions", "2")], &MemoryLog::default(), START).await;
    let source = &mut trial.source;
    assert_eq!(source.description(), "RateStreamV2[rowsPerSecond=4, rampUpTimeSeconds=0, numPartitions=2]");
    let initial = source.initial().await.unwrap();
    assert_eq!(initial, Offset::Null);
    let proposal = source.propose(&initial, Admission::Limited).await.unwrap();
    assert_eq!(proposal, Proposal { end: 0.into(), latest: 0.into() });
    assert_eq!(rows(source, initial, 0.into(), 100).await.0, []);
    trial.now.store(START + 999, Ordering::SeqCst);
    assert_eq!(source.propose(&0.into(), Admission::Limited).await.unwrap().end, 0);
    trial.now.store(START + 2999, Ordering::SeqCst);
    assert_eq!(source.propose(&0.into(), Admission::Limited).await.unwrap().end, 2);
    let expected = vec![(0, 0), (250, 1), (500, 2), (750, 3), (1000, 4), (1250, 5), (1500, 6), (1750, 7)];
    assert_eq!(rows(source, 0.into(), 2.into(), 48).await, (expected.clone(), vec![3, 3, 2]));
    // The clock steps back; offsets do not.
    trial.now.store(START, Ordering::SeqCst);
    assert_eq!(source.propose(&2.into(), Admission::Limited).await.unwrap().end, 2);
    assert_eq!(rows(source, 0.into(), 2.into(), 16_000).await, (expected, vec![8]));
}

#[tokio::test]
async fn a_restart_keeps_the_first_start() {
    let log = MemoryLog::default();
    trial(&[], &log, START).await;
    let mut later = trial(&[], &log, START + 60_000).await;
    assert_eq!(later.source.propose(&5.into(), Admission::Limited).await.unwrap().end, 60);
    assert_eq!(rows(&mut later.source, 5.into(), 7.into(), 100).await.0, [(5000, 5), (6000, 6)]);
    later.source.freeze().await.unwrap();
    later.now.store(START + 90_000, Ordering::SeqCst);
    assert_eq!(later.source.propose(&5.into(), Admission::Limited).await.unwrap().end, 60);
}

#[test]
fn ramps_up_as_spark_does() {
    let rate = Rate { rows_per_second: 10, ramp_up_seconds: 4 };
    assert_eq!((0..7).map(|second| rate.value_at(second).unwrap()).collect::<Vec<_>>(), [0, 2, 6, 12, 20, 30, 40]);
    let slow = Rate { rows_per_second: 1, ramp_up_seconds: 2 };
    assert_eq!((0..5).map(|second| slow.value_at(second).unwrap()).collect::<Vec<_>>(), [0, 1, 3, 4, 5]);
    assert_eq!(Rate { rows_per_second: i64::MAX, ramp_up_seconds: 0 }.value_at(2), None);
}

#[tokio::test]
async fn refusals() {
    for (key, value) in [("rowsPerSecond", "0"), ("rampUpTime", "soon"), ("numPartitions", "0")] {
        let options = Options::from_iter([(key, value)]);
        let error = RateSource::new(&mut options.reader("the rate source"), system_clock()).err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption);
        assert!(error.message().contains(key), "{error}");
    }
    let text = i64::MAX.to_string();
    let mut trial =
        trial(&[("rowsPerSecond", text.as_str()), ("rampUpTime", "3s")], &MemoryLog::default(), START).await;
    let request = ReadRequest { projection: vec![1], chunk_bytes: 1, stop: Arc::default() };
    let error = trial.source.read(&4.into(), &90.into(), &request).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::ArithmeticOverflow);
    let error = trial.source.read(&Offset::from("x"), &90.into(), &request).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
}

/// Read as they arise, rows are those of whole seconds with the same times, however time is cut.
#[tokio::test]
async fn flowing_rows_are_those_of_whole_seconds() {
    let options = [("rowsPerSecond", "7"), ("rampUpTime", "2s")];
    let mut batches = trial(&options, &MemoryLog::default(), START).await;
    let mut whole = Vec::new();
    for second in 0..5 {
        whole.extend(rows(&mut batches.source, second.into(), (second + 1).into(), 1 << 20).await.0);
    }
    assert_eq!(whole.len(), 2 + 4 + 3 * 7);
    let mut flowing = trial(&options, &MemoryLog::default(), START).await;
    assert_eq!(flowing.source.begin_continuous(Flow::RealTime).unwrap_err().code(), ErrorCode::RealTimeSource);
    flowing.source.begin_continuous(Flow::Continuous).unwrap();
    let mut found = Vec::new();
    let mut start = Offset::Null;
    for now in [0, 1, 350, 600, 999, 1000, 2501, 2502, 4999, 5000] {
        flowing.now.store(START + now, Ordering::SeqCst);
        let proposal = flowing.source.propose(&start, Admission::Limited).await.unwrap();
        assert_eq!(proposal.latest, serde_json::json!({ "elapsedMs": now }));
        let request = ReadRequest { projection: vec![0, 1], chunk_bytes: 2 * ROW_BYTES, stop: Arc::default() };
        let mut chunks = flowing.source.read(&start, &proposal.end, &request).await.unwrap();
        let before = found.len();
        while let Some(Chunk::Columns { batch, .. }) = chunks.next().unwrap() {
            assert!((1..=2).contains(&batch.num_rows()));
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
            let values = batch.column(1).as_primitive::<Int64Type>().values();
            found.extend(times.iter().zip(values).map(|(time, value)| (time / 1000 - START, *value)));
        }
        // Nothing is proposed until a row is due.
        assert_eq!(proposal.end == start, found.len() == before, "{now}");
        start = proposal.end;
    }
    assert_eq!(found, whole);
    // Seconds of a run in batches are taken over; the other way is refused.
    let proposal = flowing.source.propose(&3.into(), Admission::Limited).await.unwrap();
    assert_eq!(proposal.end, serde_json::json!({ "elapsedMs": 5000 }));
    let error = batches.source.propose(&proposal.end, Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointIncompatible);
}
