use super::*;
use crate::source::test_log::MemoryLog;
use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;

fn rows(values: &[i64]) -> RecordBatch {
    let names: StringArray = values.iter().map(|value| Some(format!("n{value}"))).collect();
    RecordBatch::try_from_iter([
        ("name", Arc::new(names) as ArrayRef),
        ("value", Arc::new(Int64Array::from(values.to_vec())) as ArrayRef),
    ])
    .unwrap()
}

fn stream() -> MemoryStream {
    MemoryStream::new("name STRING, value BIGINT")
}

async fn read(source: &mut MemorySource, start: u64, end: u64) -> Result<Vec<Vec<i64>>> {
    let request = ReadRequest { projection: vec![1], chunk_bytes: 1, stop: Arc::default() };
    let mut chunks = source.read(&start.into(), &end.into(), &request).await?;
    let mut batches = Vec::new();
    while let Some(Chunk::Columns { batch, origin: Origin::Process }) = chunks.next()? {
        assert_eq!(batch.num_columns(), 1);
        batches.push(batch.column(0).as_primitive::<Int64Type>().values().to_vec());
    }
    Ok(batches)
}

#[tokio::test]
async fn several_adds_are_taken_together_and_kept_until_commit() {
    let stream = stream();
    let mut source = stream.source().unwrap();
    source.open(Arc::new(MemoryLog::default())).await.unwrap();
    assert_eq!(source.description(), "MemoryStream[name,value]");
    assert_eq!(source.initial().await.unwrap(), 0);
    assert_eq!(source.propose(&0.into(), Admission::Limited).await.unwrap().end, 0);
    assert_eq!(stream.add(rows(&[1, 2])).unwrap(), 1);
    assert_eq!(stream.clone().add(rows(&[3])).unwrap(), 2);
    let proposal = source.propose(&0.into(), Admission::Limited).await.unwrap();
    assert_eq!(proposal, Proposal { end: 2.into(), latest: 2.into() });
    stream.add(rows(&[4])).unwrap();
    assert_eq!(read(&mut source, 0, 2).await.unwrap(), [vec![1, 2], vec![3]]);
    assert_eq!(read(&mut source, 0, 2).await.unwrap(), [vec![1, 2], vec![3]]);
    source.commit(&2.into()).await.unwrap();
    assert_eq!(read(&mut source, 2, 3).await.unwrap(), [vec![4]]);
    let error = read(&mut source, 0, 2).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    // A second source over the same stream begins where rows are.
    assert_eq!(stream.source().unwrap().initial().await.unwrap(), 2);
}

/// Two queries over one stream, or one that uses it twice: neither loses what the other has committed.
#[tokio::test]
async fn rows_stay_until_every_open_source_has_committed_them() {
    let stream = stream();
    let (mut fast, mut slow) = (stream.source().unwrap(), stream.source().unwrap());
    for source in [&mut fast, &mut slow] {
        source.open(Arc::new(MemoryLog::default())).await.unwrap();
    }
    stream.add(rows(&[1])).unwrap();
    stream.add(rows(&[2])).unwrap();
    fast.commit(&2.into()).await.unwrap();
    assert_eq!(read(&mut slow, 0, 1).await.unwrap(), [vec![1]]);
    slow.commit(&1.into()).await.unwrap();
    assert_eq!(read(&mut slow, 1, 2).await.unwrap(), [vec![2]]);
    assert_eq!(read(&mut fast, 0, 1).await.unwrap_err().code(), ErrorCode::UnsupportedOperation);
    // A source that is gone holds nothing back.
    drop(slow);
    fast.commit(&2.into()).await.unwrap();
    assert_eq!(stream.source().unwrap().initial().await.unwrap(), 2);
}

#[tokio::test]
async fn frozen_sources_stop_where_they_were() {
    let stream = stream();
    let mut source = stream.source().unwrap();
    stream.add(rows(&[1])).unwrap();
    source.freeze().await.unwrap();
    stream.add(rows(&[2])).unwrap();
    assert_eq!(source.propose(&0.into(), Admission::Limited).await.unwrap().end, 1);
    assert_eq!(source.propose(&1.into(), Admission::Unlimited).await.unwrap().end, 1);
}

#[tokio::test]
async fn refusals() {
    let stream = stream();
    let error = stream.add(rows(&[1]).project(&[1]).unwrap()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DatatypeMismatch);
    assert_eq!(error.message(), "rows of (value Int64) do not fit a memory stream of (name Utf8, value Int64)");
    let wrong = MemoryStream::new("value BIGGISH");
    assert_eq!(wrong.source().err().unwrap().code(), ErrorCode::ParseSyntaxError);
    assert_eq!(wrong.add(rows(&[1])).unwrap_err().code(), ErrorCode::ParseSyntaxError);
    let error = stream.source().unwrap().propose(&3.into(), Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    let error = stream.source().unwrap().propose(&Offset::Null, Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
}
