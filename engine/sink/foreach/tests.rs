use super::*;
use crate::sink::OutputMode;
use crate::types::StructType;
use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use parking_lot::Mutex;

fn rows(values: &[i64]) -> RecordBatch {
    let schema = StructType::from_ddl("n BIGINT, City STRING, t TIMESTAMP").unwrap().to_arrow_schema();
    let cities: StringArray = values.iter().map(|n| (n % 2 == 1).then(|| format!("c{n}"))).collect();
    let times: TimestampMicrosecondArray = values.iter().map(|n| Some(n * 1_000_000)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(values.to_vec())),
        Arc::new(cities),
        Arc::new(times.with_timezone(crate::types::UTC)),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

async fn publish(sink: &mut ForeachSink, batch: u64, rows: &[RecordBatch]) -> Result<()> {
    let payload = sink.stage(batch, Uuid::nil(), rows).await.unwrap();
    sink.publish(&Prepared { batch, attempt: Uuid::nil(), payload }).await
}

async fn opened(writer: impl ForeachWriter + 'static) -> ForeachSink {
    let mut sink = ForeachSink::new(writer);
    let (mode, schema) = (OutputMode::Append, rows(&[]).schema());
    sink.open(&Writer { query_id: Uuid::nil(), run_id: Uuid::nil(), epoch: 1, mode, schema }).await.unwrap();
    sink
}

/// Notes every call; refuses epoch 7, fails on the number 13 and panics on 14.
struct Notes(Arc<Mutex<Vec<String>>>);

impl ForeachWriter for Notes {
    fn open(&mut self, partition_id: i64, epoch_id: u64) -> Result<bool> {
        self.0.lock().push(format!("open {partition_id} {epoch_id}"));
        Ok(epoch_id != 7)
    }
    fn process(&mut self, row: &Row<'_>) -> Result<()> {
        let n = row.get::<i64>("n")?;
        self.0.lock().push(format!("{n:?}"));
        match n {
            Some(13) => Err(Error::new(ErrorCode::UserCode, "unlucky")),
            Some(14) => panic!("worse"),
            _ => Ok(()),
        }
    }
    fn close(&mut self, error: Option<&Error>) -> Result<()> {
        self.0.lock().push(format!("close {:?}", error.map(ToString::to_string)));
        Ok(())
    }
}

#[tokio::test]
async fn a_writer_is_opened_fed_and_closed() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let mut sink = opened(Notes(notes.clone())).await;
    publish(&mut sink, 6, &[rows(&[1, 2]), rows(&[3])]).await.unwrap();
    publish(&mut sink, 7, &[rows(&[4])]).await.unwrap();
    publish(&mut sink, 8, &[]).await.unwrap();
    let error = publish(&mut sink, 9, &[rows(&[13, 1])]).await.unwrap_err();
    assert_eq!(error.to_string(), "[USER_CODE] foreach, batch 9: unlucky");
    let error = publish(&mut sink, 10, &[rows(&[14])]).await.unwrap_err();
    assert_eq!(error.to_string(), "[USER_CODE] foreach, batch 10: process panicked: worse");
    let expected = [
        "open 0 6",
        "Some(1)",
        "Some(2)",
        "Some(3)",
        "close None", //
        "open 0 7",
        "close None", //
        "open 0 8",
        "close None", //
        "open 0 9",
        "Some(13)",
        "close Some(\"[USER_CODE] unlucky\")", //
        "open 0 10",
        "Some(14)",
        "close Some(\"[USER_CODE] process panicked: worse\")",
    ];
    assert_eq!(*notes.lock(), expected);
}

#[tokio::test]
async fn a_closure_takes_every_row() {
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = texts.clone();
    let mut sink = opened(move |row: &Row<'_>| {
        seen.lock().push(row.json()?);
        Ok(())
    })
    .await;
    publish(&mut sink, 0, &[rows(&[1, 2])]).await.unwrap();
    assert_eq!(
        *texts.lock(),
        [r#"{"n":1,"City":"c1","t":"1970-01-01T00:00:01.000Z"}"#, r#"{"n":2,"t":"1970-01-01T00:00:02.000Z"}"#]
    );
}

#[test]
fn values_are_read_by_name_and_type() {
    let batch = rows(&[1, 2]);
    let row = Row::new(&batch, 1).unwrap();
    assert_eq!((row.get::<i64>("N").unwrap(), row.get::<&str>("city").unwrap()), (Some(2), None));
    assert!(row.is_null("City").unwrap() && !row.is_null("n").unwrap());
    assert_eq!(row.get::<DateTime<Utc>>("t").unwrap(), DateTime::from_timestamp(2, 0));
    assert_eq!(Row::new(&batch, 0).unwrap().get::<String>("city").unwrap().as_deref(), Some("c1"));
    let error = row.get::<f64>("n").unwrap_err();
    assert_eq!(error.to_string(), "[DATATYPE_MISMATCH] the column \"n\" is Int64 and was read as DOUBLE");
    assert_eq!(row.get::<i64>("m").unwrap_err().code(), ErrorCode::UnresolvedColumn);
    assert_eq!(Row::new(&batch, 2).unwrap_err().to_string(), "[INVALID_EXPRESSION] there is no row 2 of 2");
}
