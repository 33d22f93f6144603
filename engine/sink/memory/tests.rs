use super::*;
use crate::types::StructType;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;

fn numbers(values: &[i64]) -> RecordBatch {
    let schema = StructType::from_ddl("n BIGINT").unwrap().to_arrow_schema();
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]).unwrap()
}

async fn opened(table: &MemoryTable, mode: OutputMode) -> MemorySink {
    let mut sink = table.sink();
    let schema = numbers(&[]).schema();
    sink.open(&Writer { query_id: Uuid::nil(), run_id: Uuid::nil(), epoch: 1, mode, schema }).await.unwrap();
    sink
}

async fn write(sink: &mut MemorySink, batch: u64, rows: &[RecordBatch]) -> Prepared {
    let payload = sink.stage(batch, Uuid::nil(), rows).await.unwrap();
    let prepared = Prepared { batch, attempt: Uuid::nil(), payload };
    sink.publish(&prepared).await.unwrap();
    prepared
}

fn content(table: &MemoryTable) -> Vec<i64> {
    table.concat().unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()
}

#[tokio::test]
async fn append_and_update_add_and_complete_replaces() {
    for (mode, wanted) in [
        (OutputMode::Append, vec![1, 2, 3, 4]),
        (OutputMode::Update, vec![1, 2, 3, 4]),
        (OutputMode::Complete, vec![4]),
    ] {
        let table = MemoryTable::new(Some("rides")).unwrap();
        let mut sink = opened(&table, mode).await;
        assert_eq!(table.concat().unwrap(), numbers(&[]));
        write(&mut sink, 0, &[numbers(&[1]), numbers(&[]), numbers(&[2, 3])]).await;
        assert_eq!(table.rows(), [numbers(&[1]), numbers(&[2, 3])]);
        write(&mut sink, 1, &[numbers(&[4])]).await;
        assert_eq!(content(&table), wanted, "{mode:?}");
    }
}

#[tokio::test]
async fn staged_rows_are_unseen_and_restarts_find_nothing() {
    let table = MemoryTable::new(Some("rides")).unwrap();
    let mut sink = opened(&table, OutputMode::Append).await;
    sink.stage(0, Uuid::nil(), &[numbers(&[1])]).await.unwrap();
    assert_eq!(content(&table), Vec::<i64>::new());
    // A second attempt takes the place of the first.
    let prepared = write(&mut sink, 0, &[numbers(&[2])]).await;
    assert_eq!(content(&table), [2]);
    assert_eq!(sink.settle(&prepared).await.unwrap(), Settled::Absent);
    assert_eq!(sink.publish(&prepared).await.unwrap_err().code(), ErrorCode::Internal);
    assert_eq!((sink.description().as_str(), table.name()), ("MemorySink", "rides"));
}

#[test]
fn a_table_needs_a_name() {
    for name in [None, Some("")] {
        let error = MemoryTable::new(name).err().unwrap();
        assert_eq!(error.code(), ErrorCode::MissingOption);
        assert!(error.message().starts_with("queryName must be specified for memory sink"), "{error}");
    }
}
