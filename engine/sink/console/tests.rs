use super::*;
use crate::options::Options;
use crate::sink::OutputMode;
use crate::types::StructType;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;

fn numbers(values: &[i64]) -> RecordBatch {
    let schema = StructType::from_ddl("n BIGINT").unwrap().to_arrow_schema();
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]).unwrap()
}

/// Renderers that show what they were given.
fn renderers() -> Renderers {
    Renderers {
        table: Arc::new(|rows, schema, most, characters| {
            let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
            Ok(format!("<{} {count} {most} {characters}>\n", schema.field(0).name()))
        }),
        json: Arc::new(|rows| {
            let values = rows.column(0).as_primitive::<Int64Type>().values();
            Ok(values.iter().map(|value| format!("{{\"n\":{value}}}")).collect())
        }),
    }
}

#[derive(Clone, Default)]
struct Page {
    text: Arc<Mutex<Vec<u8>>>,
    fails: Option<io::ErrorKind>,
}

impl Write for Page {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.fails {
            Some(kind) => Err(kind.into()),
            None => self.text.lock().write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sink(options: &[(&str, &str)], page: &Page) -> Result<ConsoleSink> {
    let options = Options::from_iter(options.iter().copied());
    let mut reader = options.reader("the console sink");
    let sink = ConsoleSink::with_output(&mut reader, renderers(), Box::new(page.clone()))?;
    reader.finish()?;
    Ok(sink)
}

/// Writes batch 3 with two pieces, then batch 4 without rows.
async fn written(options: &[(&str, &str)], page: &Page) -> Result<String> {
    let mut sink = sink(options, page)?;
    let (mode, schema) = (OutputMode::Update, numbers(&[]).schema());
    sink.open(&Writer { query_id: Uuid::nil(), run_id: Uuid::nil(), epoch: 1, mode, schema }).await?;
    for (batch, rows) in [(3, vec![numbers(&[1, 2]), numbers(&[3])]), (4, vec![])] {
        let payload = sink.stage(batch, Uuid::nil(), &rows).await?;
        let prepared = Prepared { batch, attempt: Uuid::nil(), payload };
        sink.publish(&prepared).await?;
        assert_eq!(sink.settle(&prepared).await?, Settled::Absent);
    }
    Ok(String::from_utf8(page.text.lock().clone()).unwrap())
}

#[tokio::test]
async fn tables_have_sparks_heading() {
    let rule = "-".repeat(43);
    let wanted =
        |cell: &str| format!("{rule}\nBatch: 3\n{rule}\n<n 3 {cell}>\n\n{rule}\nBatch: 4\n{rule}\n<n 0 {cell}>\n\n");
    assert_eq!(written(&[], &Page::default()).await.unwrap(), wanted("20 20"));
    let options = [("numRows", "5"), ("truncate", "false"), ("format", "TABLE")];
    assert_eq!(written(&options, &Page::default()).await.unwrap(), wanted("5 0"));
    assert_eq!(written(&[("truncate", "true")], &Page::default()).await.unwrap(), wanted("20 20"));
    assert_eq!(written(&[("truncate", "7")], &Page::default()).await.unwrap(), wanted("20 7"));
}

#[tokio::test]
async fn json_is_a_line_per_row_and_nothing_else() {
    assert_eq!(
        written(&[("format", "json")], &Page::default()).await.unwrap(),
        "{\"batchId\":3,\"row\":{\"n\":1}}\n{\"batchId\":3,\"row\":{\"n\":2}}\n{\"batchId\":3,\"row\":{\"n\":3}}\n"
    );
}

#[tokio::test]
async fn a_closed_pipe_ends_the_output_and_another_failure_the_query() {
    let closed = Page { fails: Some(io::ErrorKind::BrokenPipe), ..Page::default() };
    assert_eq!(written(&[], &closed).await.unwrap(), "");
    let full = Page { fails: Some(io::ErrorKind::StorageFull), ..Page::default() };
    let error = written(&[], &full).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    assert!(error.message().starts_with("the console sink cannot write batch 3"), "{error}");
}

#[test]
fn refusals() {
    for (key, value) in [("numRows", "many"), ("truncate", "-1"), ("format", "xml"), ("numrow", "1")] {
        let error = sink(&[(key, value)], &Page::default()).err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption);
        assert!(error.message().contains(key), "{error}");
    }
}
