use super::*;
use crate::sink::OutputMode;
use crate::types::StructType;
use arrow::array::{ArrayRef, Int64Array};
use parking_lot::Mutex;

fn numbers(values: &[i64]) -> RecordBatch {
    let schema = StructType::from_ddl("n BIGINT").unwrap().to_arrow_schema();
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]).unwrap()
}

async fn run(function: BatchFunction, batch: u64, rows: &[RecordBatch]) -> (Prepared, Result<()>) {
    let mut sink = ForeachBatchSink::new(function);
    let (mode, schema) = (OutputMode::Update, numbers(&[]).schema());
    sink.open(&Writer { query_id: Uuid::nil(), run_id: Uuid::nil(), epoch: 1, mode, schema }).await.unwrap();
    let payload = sink.stage(batch, Uuid::nil(), rows).await.unwrap();
    let prepared = Prepared { batch, attempt: Uuid::nil(), payload };
    let published = sink.publish(&prepared).await;
    assert_eq!(sink.settle(&prepared).await.unwrap(), Settled::Absent);
    (prepared, published)
}

#[tokio::test]
async fn the_function_gets_rows_schema_and_number_at_publication() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = calls.clone();
    let function: BatchFunction = Arc::new(move |rows, schema, batch| {
        let seen = seen.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            seen.lock().push((rows, schema, batch));
            Ok(())
        })
    });
    run(function.clone(), 4, &[numbers(&[1]), numbers(&[2])]).await.1.unwrap();
    run(function, 5, &[]).await.1.unwrap();
    let schema = numbers(&[]).schema();
    assert_eq!(*calls.lock(), [(vec![numbers(&[1]), numbers(&[2])], schema.clone(), 4), (vec![], schema, 5)]);
}

#[tokio::test]
async fn failures_and_panics_name_the_batch() {
    let failing: BatchFunction =
        Arc::new(|_, _, _| Box::pin(async { Err(Error::new(ErrorCode::UserCode, "no table")) }));
    let error = run(failing, 3, &[]).await.1.unwrap_err();
    assert_eq!(error.to_string(), "[USER_CODE] foreachBatch, batch 3: no table");
    let panicking: BatchFunction = Arc::new(|_, _, batch| Box::pin(async move { panic!("bad batch {batch}") }));
    let error = run(panicking, 3, &[]).await.1.unwrap_err();
    assert_eq!(error.to_string(), "[USER_CODE] the foreachBatch function panicked in batch 3: bad batch 3");
    let early: BatchFunction = Arc::new(|_, _, _| panic!("at once"));
    let error = run(early, 0, &[]).await.1.unwrap_err();
    assert_eq!(error.to_string(), "[USER_CODE] the foreachBatch function panicked in batch 0: at once");
}
