use super::*;
use crate::types::{StructField, UTC};
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, ListBuilder, MapBuilder, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};

fn write(path: &Path, batch: &RecordBatch, group_rows: usize) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

async fn read(path: &Path, schema: SchemaRef, projection: &[usize], chunk_bytes: usize) -> Result<Vec<RecordBatch>> {
    let options = Options::from_iter([("path", path.to_string_lossy().into_owned())]);
    let field = |field: &Arc<Field>| StructField::new(field.name(), parquet::type_of(field.data_type()).unwrap(), true);
    let schema = StructType { fields: schema.fields().iter().map(field).collect() };
    let files = Files::load(FileFormat::Parquet, Reading::Stream, Some(schema), &options, &Config::default()).await?;
    let mut source = files.source();
    source.open(Arc::new(MemoryLog::default())).await?;
    let end = source.propose(&Offset::Null, Admission::Limited).await?.end;
    let request = ReadRequest { projection: projection.to_vec(), chunk_bytes, stop: Arc::default() };
    let mut chunks = source.read(&Offset::Null, &end, &request).await?;
    let mut batches = Vec::new();
    while let Some(Chunk::Deferred(load)) = chunks.next()? {
        batches.push(load()?.0);
    }
    Ok(batches)
}

/// All rows of a directory's files, a batch per file.
pub(crate) async fn read_parquet(path: &Path, schema: SchemaRef) -> Vec<RecordBatch> {
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    read(path, schema, &all, usize::MAX).await.unwrap()
}

/// Three rows of every type, NULL in the middle.
pub(crate) fn every_type() -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    tags.append_value([Some("a"), None]);
    tags.append_null();
    tags.append_value::<Vec<Option<&str>>, &str>(vec![]);
    let mut marks = MapBuilder::new(
        Some(arrow::array::MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() }),
        StringBuilder::new(),
        arrow::array::Int64Builder::new(),
    );
    marks.keys().append_value("k");
    marks.values().append_value(7);
    marks.append(true).unwrap();
    marks.append(false).unwrap();
    marks.append(true).unwrap();
    let times = |first: i64| TimestampMicrosecondArray::from(vec![Some(first), None, Some(-1)]).with_timezone(UTC);
    let schema = schema(
        "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, f32 FLOAT, f64 DOUBLE, s STRING, bin BINARY, d DATE, \
         t TIMESTAMP, dec DECIMAL(20, 3), tags ARRAY<STRING>, marks MAP<STRING, BIGINT>, \
         window STRUCT<start: TIMESTAMP, end: TIMESTAMP>",
    );
    let DataType::Struct(window) = schema.field(14).data_type() else { panic!("a struct") };
    let windows = StructArray::new(
        window.clone(),
        vec![Arc::new(times(0)), Arc::new(times(300_000_000))],
        Some(vec![true, false, true].into()),
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)])),
        Arc::new(Int16Array::from(vec![Some(-32768), None, Some(32767)])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::MAX)])),
        Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-0.0)])),
        Arc::new(StringArray::from(vec![Some("Zürich"), None, Some("")])),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0u8, 255][..]), None, Some(&[][..])])),
        Arc::new(Date32Array::from(vec![Some(19_700), None, Some(-1)])),
        Arc::new(times(1_704_067_200_123_456)),
        Arc::new(
            Decimal128Array::from(vec![Some(12_345), None, Some(-99_999_999_999_999_999_999)])
                .with_precision_and_scale(20, 3)
                .unwrap(),
        ),
        Arc::new(tags.finish()),
        Arc::new(marks.finish()),
        Arc::new(windows),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

#[tokio::test]
async fn every_type_comes_back_in_any_projection_and_chunking() {
    let directory = tempfile::tempdir().unwrap();
    let rows = every_type();
    write(&directory.path().join("a.parquet"), &rows, 1);
    let all: Vec<usize> = (0..rows.num_columns()).collect();
    let one = read(directory.path(), rows.schema(), &all, 1 << 20).await.unwrap();
    assert_eq!(one, std::slice::from_ref(&rows));
    let three = read(directory.path(), rows.schema(), &all, 1).await.unwrap();
    assert_eq!(three, [rows.slice(0, 1), rows.slice(1, 1), rows.slice(2, 1)]);
    let some = read(directory.path(), rows.schema(), &[3, 7, 14], 1 << 20).await.unwrap();
    assert_eq!(some, [rows.project(&[3, 7, 14]).unwrap()]);
    let none = read(directory.path(), rows.schema(), &[], 1 << 20).await.unwrap();
    assert_eq!(none.iter().map(|batch| (batch.num_rows(), batch.num_columns())).collect::<Vec<_>>(), [(3, 0)]);
}

#[tokio::test]
async fn columns_go_by_name_and_missing_ones_are_null() {
    let directory = tempfile::tempdir().unwrap();
    let file = RecordBatch::try_from_iter([
        ("extra", Arc::new(Int64Array::from(vec![9, 9])) as ArrayRef),
        ("CITY", Arc::new(DictionaryArray::<Int32Type>::from_iter(["sf", "la"])) as ArrayRef),
        ("ms", Arc::new(TimestampMillisecondArray::from(vec![1, -1])) as ArrayRef),
        ("ns", Arc::new(TimestampNanosecondArray::from(vec![1_999, -1]).with_timezone("UTC")) as ArrayRef),
    ])
    .unwrap();
    write(&directory.path().join("a.parquet"), &file, 10);
    let wanted = schema("ns TIMESTAMP, fare DOUBLE, city STRING, ms TIMESTAMP");
    let read = read(directory.path(), wanted.clone(), &[0, 1, 2, 3], 100).await.unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![1, -1]).with_timezone(UTC)),
        Arc::new(Float64Array::from(vec![None, None])),
        Arc::new(StringArray::from(vec!["sf", "la"])),
        Arc::new(TimestampMicrosecondArray::from(vec![1000, -1000]).with_timezone(UTC)),
    ];
    assert_eq!(read, [RecordBatch::try_new(wanted, columns).unwrap()]);
}

#[tokio::test]
async fn another_type_and_a_damaged_file_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let file = RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
    write(&at.join("a.parquet"), &file, 10);
    let error = read(at, schema("n BIGINT"), &[0], 100).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DatatypeMismatch);
    assert_eq!(
        error.message(),
        format!(
            "column 'n' of file://{}/a.parquet: the file has Int32, the schema Int64; give the source a schema that fits",
            at.display()
        )
    );
    std::fs::write(at.join("a.parquet"), b"not parquet at all").unwrap();
    let error = read(at, schema("n INT"), &[0], 100).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    assert!(
        error.message().starts_with(&format!("cannot read file://{}/a.parquet as Parquet", at.display())),
        "{error}"
    );
}
