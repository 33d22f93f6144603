//! Directories per value, and files per number of rows.

use super::*;
use arrow::array::{Int32Array, TimestampMicrosecondArray};
use std::collections::BTreeMap;

fn rides(cities: &[Option<&str>]) -> RecordBatch {
    let number = Int32Array::from_iter_values(0..cities.len() as i32);
    let city = StringArray::from(cities.to_vec());
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(number) as ArrayRef, false),
        ("City", Arc::new(city) as ArrayRef, true),
    ])
    .unwrap()
}

/// Path and text of every file below a directory.
fn files(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

async fn partitioned(path: &Path, rows: &RecordBatch, by: &[&str], options: &[(&str, &str)]) -> FileSink {
    let mut sink = file_sink("json", path.to_str().unwrap(), options, by).unwrap();
    sink.open(&writer(QUERY, &rows.schema())).await.unwrap();
    sink
}

#[tokio::test]
async fn each_value_has_its_directory_and_its_rows_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let first = rides(&[Some("b"), Some("a/b"), None, Some(""), Some("b"), Some("../../x")]);
    let second = rides(&[Some("a/b"), Some("b")]);
    let mut sink = partitioned(directory.path(), &first, &["CITY"], &[]).await;
    let prepared = {
        let payload = sink.stage(4, attempt(4), &[first.clone(), first.slice(0, 0), second]).await.unwrap();
        Prepared { batch: 4, attempt: attempt(4), payload }
    };
    // Nothing but hidden files before publication, no directory either.
    assert!(names(directory.path()).iter().all(|name| name.starts_with(".part-00004-")));
    sink.publish(&prepared).await.unwrap();
    let line = |n: i32| format!("{{\"n\":{n}}}\n");
    let expected = BTreeMap::from(
        [
            ("City=..%2F..%2Fx/part-00004-0-aaaaaa04.json", line(5)),
            ("City=__HIVE_DEFAULT_PARTITION__/part-00004-1-aaaaaa04.json", line(2) + &line(3)),
            ("City=a%2Fb/part-00004-2-aaaaaa04.json", line(1) + &line(0)),
            ("City=b/part-00004-3-aaaaaa04.json", line(0) + &line(4) + &line(1)),
        ]
        .map(|(name, text)| (name.to_string(), text)),
    );
    assert_eq!(files(directory.path()), expected);
    sink.publish(&prepared).await.unwrap();
    assert_eq!(sink.settle(&prepared).await.unwrap(), Settled::Published);
    assert_eq!(files(directory.path()), expected);
}

#[tokio::test]
async fn names_of_directories_are_escaped_as_hive_does() {
    let directory = tempfile::tempdir().unwrap();
    // Recorded from Spark for U+0001 to U+007F, which cannot do U+0000 at all.
    let escaped = "\0\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\t\n\u{b}\u{c}\r\u{e}\u{f}\u{10}\u{11}\u{12}\u{13}\u{14}\u{15}\u{16}\u{17}\
                   \u{18}\u{19}\u{1a}\u{1b}\u{1c}\u{1d}\u{1e}\u{1f}\"#%'*/:=?\\{[]^\u{7f}";
    let values: Vec<String> = (0..=127u8).map(|byte| format!("{}x", char::from(byte))).collect();
    let rows = rides(&values.iter().map(|value| Some(value.as_str())).collect::<Vec<_>>());
    let mut sink = partitioned(directory.path(), &rows, &["city"], &[]).await;
    written(&mut sink, 0, &[rows]).await;
    let mut expected: Vec<String> = (0..=127u8)
        .map(|byte| match char::from(byte) {
            c if escaped.contains(c) => format!("City=%{byte:02X}x"),
            c => format!("City={c}x"),
        })
        .collect();
    expected.sort();
    assert_eq!(names(directory.path()), expected);
}

#[tokio::test]
async fn several_columns_of_any_type_nest() {
    let directory = tempfile::tempdir().unwrap();
    let time = TimestampMicrosecondArray::from(vec![1_704_103_200_123_456]).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter([
        ("v", Arc::new(Int32Array::from(vec![7])) as ArrayRef),
        ("t", Arc::new(time) as ArrayRef),
        ("d", Arc::new(arrow::array::Float64Array::from(vec![1e20])) as ArrayRef),
        ("b", Arc::new(arrow::array::BooleanArray::from(vec![true])) as ArrayRef),
        ("dt", Arc::new(arrow::array::Date32Array::from(vec![19_724])) as ArrayRef),
        ("S p,c", Arc::new(StringArray::from(vec!["a,b"])) as ArrayRef),
    ])
    .unwrap();
    let mut sink = partitioned(directory.path(), &rows, &["d", "b", "t", "dt", "S p,c"], &[]).await;
    written(&mut sink, 0, &[rows]).await;
    assert_eq!(
        files(directory.path()).into_iter().collect::<Vec<_>>(),
        [(
            "d=1.0E20/b=true/t=2024-01-01 10%3A00%3A00.123456/dt=2024-01-02/S p,c=a,b/part-00000-0-aaaaaa00.json"
                .to_string(),
            "{\"v\":7}\n".to_string()
        )]
    );
}

#[tokio::test]
async fn a_crash_between_the_files_of_a_batch_is_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let rows = rides(&[Some("a"), Some("b"), Some("c")]);
    let mut sink = partitioned(directory.path(), &rows, &["city"], &[]).await;
    let payload = sink.stage(0, attempt(0), std::slice::from_ref(&rows)).await.unwrap();
    let prepared = Prepared { batch: 0, attempt: attempt(0), payload };
    // The crash came when the first had its name.
    let mut half = prepared.clone();
    half.payload["files"].as_array_mut().unwrap().truncate(1);
    sink.publish(&half).await.unwrap();
    assert_eq!(files(directory.path()).keys().filter(|name| name.contains('/')).count(), 1);
    let mut restarted = partitioned(directory.path(), &rows, &["city"], &[]).await;
    assert_eq!(restarted.settle(&prepared).await.unwrap(), Settled::Published);
    restarted.sweep(Some(&prepared)).await.unwrap();
    let found = files(directory.path());
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        ["City=a/part-00000-0-aaaaaa00.json", "City=b/part-00000-1-aaaaaa00.json", "City=c/part-00000-2-aaaaaa00.json"]
    );
    assert_eq!(found.values().cloned().collect::<String>(), "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
}

#[tokio::test]
async fn large_batches_are_cut() {
    let directory = tempfile::tempdir().unwrap();
    let rows = rides(&[None; 5]);
    let mut sink = partitioned(directory.path(), &rows, &[], &[("maxRecordsPerFile", "2")]).await;
    written(&mut sink, 0, &[rows.slice(0, 3), rows.slice(3, 2)]).await;
    let texts: Vec<String> = files(directory.path()).into_values().collect();
    assert_eq!(texts, ["{\"n\":0}\n{\"n\":1}\n", "{\"n\":2}\n{\"n\":3}\n", "{\"n\":4}\n"]);
}

#[tokio::test]
async fn columns_that_cannot_name_directories_are_refused() {
    let schema = StructType::from_ddl("i INT, st STRUCT<x: INT>, s STRING").unwrap().to_arrow_schema();
    for (columns, code, part) in [
        (vec!["zz"], ErrorCode::UnresolvedColumn, "zz not found in existing columns (i, st, s)"),
        (vec!["st.x"], ErrorCode::UnresolvedColumn, "st.x not found"),
        (vec!["st"], ErrorCode::InvalidPartitionColumn, "'st'"),
        (vec!["i", "I"], ErrorCode::ColumnAlreadyExists, "'I'"),
    ] {
        let mut sink = file_sink("json", "nowhere", &[], &columns).unwrap();
        let error = sink.check(OutputMode::Append, &schema).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
    let one = StructType::from_ddl("i INT").unwrap().to_arrow_schema();
    let error = file_sink("json", "nowhere", &[], &["i"]).unwrap().check(OutputMode::Append, &one).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::AllPartitionColumns);
    // The one column left is text's own.
    let two = StructType::from_ddl("x STRING, y STRING").unwrap().to_arrow_schema();
    file_sink("text", "nowhere", &[], &["y"]).unwrap().check(OutputMode::Append, &two).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let long = "v".repeat(300);
    let rows = rides(&[Some(long.as_str())]);
    let mut sink = partitioned(directory.path(), &rows, &["city"], &[]).await;
    let error = sink.stage(0, attempt(0), &[rows]).await.unwrap_err();
    assert!(error.code() == ErrorCode::Io && error.message().contains("too long"), "{error}");
    assert_eq!(names(directory.path()), Vec::<String>::new());
    let outside = Prepared {
        batch: 0,
        attempt: attempt(0),
        payload: serde_json::json!({"files": [{"name": "a=1/../../part-x", "bytes": 1, "rows": 1, "sha256": ""}]}),
    };
    assert_eq!(sink.publish(&outside).await.unwrap_err().code(), ErrorCode::CheckpointCorrupt);
}
