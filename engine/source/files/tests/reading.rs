//! What is in the files: columns of directories, compression, options, inferred schemas, tables.

use super::*;
use crate::decode::{Decoded, LineDecoder, Wanted};
use crate::source::provider::SourceProvider;
use crate::source::transient::TransientLog;
use arrow::array::ArrayRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::io::Write;

async fn load(reading: Reading, format: &str, schema: Option<&str>, options: &[(&str, &str)]) -> Result<Files> {
    let schema = schema.map(|ddl| StructType::from_ddl(ddl).unwrap());
    let options = Options::from_iter(options.iter().copied());
    Files::load(FileFormat::from_name(format).unwrap(), reading, schema, &options, &Config::default()).await
}

fn texts_of(columns: &[ArrayRef], rows: usize) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let formatters: Vec<_> = columns.iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    (0..rows).map(|row| formatters.iter().map(|f| f.value(row).to_string()).collect::<Vec<_>>().join("|")).collect()
}

/// Every row of a table, or of a stream's first batch, as text, in order.
pub(super) async fn rows_in(files: &Files, chunk_bytes: usize) -> Result<Vec<String>> {
    let mut source = files.create()?;
    source.check().await?;
    source.open(Arc::new(TransientLog::default())).await?;
    let start = source.initial().await?;
    source.freeze().await?;
    let end = source.propose(&start, Admission::Unlimited).await?.end;
    let projection: Vec<usize> = (0..files.schema().fields.len()).collect();
    let request = ReadRequest { projection: projection.clone(), chunk_bytes, stop: Arc::default() };
    let mut chunks = source.read(&start, &end, &request).await?;
    let format = files.format();
    let mut decoder = format.as_ref().map(|f| LineDecoder::new(f, &Wanted::all(projection.len())).unwrap());
    let mut rows = Vec::new();
    while let Some(chunk) = chunks.next()? {
        match chunk {
            Chunk::Lines(lines) => {
                let (Decoded { columns, rows: count, .. }, _) = decoder.as_mut().unwrap().decode(lines)?;
                rows.extend(texts_of(&columns, count));
            }
            Chunk::Deferred(load) => {
                let (batch, _) = load()?;
                rows.extend(texts_of(batch.columns(), batch.num_rows()));
            }
            Chunk::Columns { .. } => panic!("files do not come as columns"),
        }
    }
    rows.sort();
    Ok(rows)
}

fn nested(at: &Path, name: &str, content: &[u8]) {
    let path = at.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn ddl(text: &str) -> StructType {
    StructType::from_ddl(text).unwrap()
}

async fn table(
    format: &str,
    at: &Path,
    schema: Option<&str>,
    options: &[(&str, &str)],
) -> Result<(StructType, Vec<String>)> {
    let path = at.to_string_lossy().into_owned();
    let mut all = vec![("path", path.as_str())];
    all.extend_from_slice(options);
    let files = load(Reading::Table, format, schema, &all).await?;
    let rows = rows_in(&files, 1 << 20).await?;
    for chunk_bytes in [1, 7] {
        assert_eq!(rows_in(&files, chunk_bytes).await?, rows, "{chunk_bytes}");
    }
    Ok((files.schema().clone(), rows))
}

#[tokio::test]
async fn directories_give_columns_with_types() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    nested(at, "p=1/q=x/y.json", b"{\"a\":1}\n");
    nested(at, "p=2/q=y%3Az/y.json", b"{\"a\":2}\n");
    nested(at, "p=2/q=__HIVE_DEFAULT_PARTITION__/y.json", b"{\"a\":3}\n{\"a\":4}\n");
    nested(at, "_hidden=1/.y.json", b"{\"a\":5}\n");
    nested(at, "_hidden/p=9/q=9/y.json", b"{\"a\":6}\n");
    let (schema, rows) = table("json", at, None, &[]).await.unwrap();
    assert_eq!(schema, ddl("a BIGINT, p INT, q STRING"));
    assert_eq!(rows, ["1|1|x", "2|2|y:z", "3|2|NULL", "4|2|NULL"]);
    // The user's types, with the columns of directories at the end whatever the schema's order.
    let (schema, rows) = table("json", at, Some("q STRING, a INT, p STRING"), &[]).await.unwrap();
    assert_eq!(schema, ddl("a INT, p STRING, q STRING"));
    assert_eq!(rows, ["1|1|x", "2|2|y:z", "3|2|NULL", "4|2|NULL"]);
    let (schema, rows) = table("csv", at, Some("P BIGINT, line STRING"), &[("sep", "~")]).await.unwrap();
    assert_eq!(schema, ddl("line STRING, P BIGINT, q STRING"));
    assert_eq!(rows[0], "{\"a\":1}|1|x");
    let (schema, rows) = table("text", at, None, &[]).await.unwrap();
    assert_eq!(schema, ddl("value STRING, p INT, q STRING"));
    assert_eq!(rows.len(), 4);
    let one = at.join("p=2");
    assert_eq!(table("json", &one, None, &[]).await.unwrap().0, ddl("a BIGINT, q STRING"));
    let base = at.to_string_lossy().into_owned();
    let (schema, rows) = table("json", &one, None, &[("basePath", &base)]).await.unwrap();
    assert_eq!((schema, rows.len()), (ddl("a BIGINT, p INT, q STRING"), 3));
    let (schema, rows) = table("json", at, None, &[("recursiveFileLookup", "true")]).await.unwrap();
    assert_eq!((schema, rows.len()), (ddl("a BIGINT"), 4));
    let error = table("json", &at.join("p=*"), None, &[]).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConflictingDirectoryStructures);
    nested(at, "p=3/y.json", b"{\"a\":7}\n");
    assert_eq!(table("json", at, None, &[]).await.unwrap_err().code(), ErrorCode::ConflictingPartitionColumnNames);
    std::fs::remove_dir_all(at.join("p=3")).unwrap();
    nested(at, "beside.json", b"{\"a\":7}\n");
    assert_eq!(table("json", at, None, &[]).await.unwrap_err().code(), ErrorCode::ConflictingDirectoryStructures);
    let error = table("json", &one, Some("a INT, q INT"), &[]).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidPartitionValue);
}

#[tokio::test]
async fn a_stream_reads_partitions_and_partitions_that_come_later() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let path = at.to_string_lossy().into_owned();
    let options = [("path", path.as_str())];
    // Nothing is there yet, so the schema's order stays.
    let files = load(Reading::Stream, "csv", Some("p INT, a STRING"), &options).await.unwrap();
    assert_eq!(*files.schema(), ddl("p INT, a STRING"));
    nested(at, "p=7/x.csv", b"one\ntwo\n");
    assert_eq!(rows_in(&files, 9).await.unwrap(), ["7|one", "7|two"]);
    let files = load(Reading::Stream, "csv", Some("p INT, a STRING"), &options).await.unwrap();
    assert_eq!(*files.schema(), ddl("a STRING, p INT"));
    assert_eq!(rows_in(&files, 9).await.unwrap(), ["one|7", "two|7"]);
    nested(at, "loose.csv", b"three\n");
    assert_eq!(rows_in(&files, 9).await.unwrap_err().code(), ErrorCode::ConflictingDirectoryStructures);
}

#[tokio::test]
async fn globs_files_and_several_paths() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for name in ["2025/a.txt", "2026/b.txt", "2026/c.log", "2027/d.txt", "2027/sub/e.txt"] {
        nested(at, name, name.as_bytes());
    }
    let rows =
        async |path: &str, options: &[(&str, &str)]| table("text", &at.join(path), None, options).await.unwrap().1;
    assert_eq!(rows("202[56]", &[]).await, ["2025/a.txt", "2026/b.txt", "2026/c.log"]);
    assert_eq!(rows("{2025,2027}/*.txt", &[]).await, ["2025/a.txt", "2027/d.txt"]);
    assert_eq!(rows("*", &[("pathGlobFilter", "*.{txt,csv}")]).await, ["2025/a.txt", "2026/b.txt", "2027/d.txt"]);
    assert_eq!(rows("2026/c.log", &[]).await, ["2026/c.log"]);
    let paths = serde_json::to_string(&["2025", "2026/c.log"].map(|name| at.join(name).to_string_lossy().into_owned()))
        .unwrap();
    let files = load(Reading::Table, "text", None, &[("paths", &paths)]).await.unwrap();
    assert_eq!(rows_in(&files, 9).await.unwrap(), ["2025/a.txt", "2026/c.log"]);
    let nothing = at.join("203?");
    assert_eq!(table("text", &nothing, None, &[]).await.unwrap_err().code(), ErrorCode::PathNotFound);
    let options = [("path", nothing.to_str().unwrap())];
    let stream = load(Reading::Stream, "text", None, &options).await.unwrap();
    assert!(rows_in(&stream, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn compressed_files_are_read_in_pieces() {
    let lines: String = (0..2000).map(|n| format!("{{\"a\":{n}}}\n")).collect();
    let (head, tail) = lines.as_bytes().split_at(777);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = |bytes: &[u8]| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    deflate.write_all(lines.as_bytes()).unwrap();
    for (name, bytes) in [
        ("x.json.gz", [gzip(head), gzip(tail)].concat()),
        ("x.JSON.GZ", gzip(lines.as_bytes())),
        ("x.json.bz2", [bzip2(head), bzip2(tail)].concat()),
        ("x.json.zst", [zstd::encode_all(head, 1).unwrap(), zstd::encode_all(tail, 1).unwrap()].concat()),
        ("x.deflate", deflate.finish().unwrap()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        nested(directory.path(), name, &bytes);
        let path = directory.path().to_string_lossy().into_owned();
        let files = load(Reading::Table, "json", None, &[("path", &path)]).await.unwrap();
        assert_eq!(*files.schema(), ddl("a BIGINT"), "{name}");
        for chunk_bytes in [5, 1000, 1 << 20] {
            let rows = rows_in(&files, chunk_bytes).await.unwrap();
            assert_eq!(rows.len(), 2000, "{name}");
            assert_eq!(rows.iter().map(|row| row.parse::<u64>().unwrap()).sum::<u64>(), 1_999_000, "{name}");
        }
        nested(directory.path(), name, &bytes[..bytes.len() / 2]);
        let files = load(Reading::Table, "json", Some("a BIGINT"), &[("path", &path)]).await.unwrap();
        let error = rows_in(&files, 1000).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Io);
        assert!(error.message().contains(name), "{error}");
        let options = [("path", path.as_str()), ("ignoreCorruptFiles", "true"), ("mode", "DROPMALFORMED")];
        let files = load(Reading::Table, "json", Some("a BIGINT"), &options).await.unwrap();
        assert!(rows_in(&files, 1000).await.unwrap().len() < 2000, "{name}");
    }
}

async fn csv(text: &str, schema: Option<&str>, options: &[(&str, &str)]) -> Result<Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    nested(directory.path(), "x.csv", text.as_bytes());
    let path = directory.path().to_string_lossy().into_owned();
    let mut all = vec![("path", path.as_str())];
    all.extend_from_slice(options);
    rows_in(&load(Reading::Table, "csv", schema, &all).await?, 1 << 20).await
}

/// Recorded from Spark 4.3, rows sorted.
#[tokio::test]
async fn csv_options() {
    let two = Some("x STRING, y STRING");
    let number = Some("x STRING, y INT");
    for (text, schema, options, expected) in [
        ("a,\"\"\nb,\n\"\",c\n", two, &[][..], vec!["NULL|c", "a|NULL", "b|NULL"]),
        ("a,\"\"\nb,\n", two, &[("emptyValue", "E")], vec!["a|E", "b|NULL"]),
        ("a,NA\n\"NA\",\n", two, &[("nullValue", "NA")], vec!["NULL|NULL", "a|NULL"]),
        ("#c\na,1\n  #d,2\n\"#e\",3\n", two, &[("comment", "#")], vec!["  #d|2", "#e|3", "a|1"]),
        (" a , 1 \n\" b \",\" 2 \"\n", number, &[], vec![" a |NULL", " b |NULL"]),
        (
            " a , 1 \n\" b \",2\n  ,3\n",
            number,
            &[("ignoreLeadingWhiteSpace", "true"), ("ignoreTrailingWhiteSpace", "true")],
            vec![" b |2", "NULL|3", "a|1"],
        ),
        ("a,\"x\ny\"\nb,c\n", two, &[("multiLine", "true")], vec!["a|x\ny", "b|c"]),
        ("a,\"x\ny\"\nb,c\n", two, &[], vec!["a|x", "b|c", "y\"|NULL"]),
        ("1,2;3,4;", two, &[("lineSep", ";")], vec!["1|2", "3|4"]),
        ("1,2\r3,4\r\n5,6\n", number, &[], vec!["1|2", "3|4", "5|6"]),
        ("\n#c\nh,i\na,1\n", number, &[("header", "true"), ("comment", "#")], vec!["a|1"]),
        ("X,y\na,1\n", number, &[("header", "true"), ("enforceSchema", "false")], vec!["a|1"]),
        (
            "a,b,b,,e\n1,2.5,x,,2020-01-01\n",
            None,
            &[("header", "true"), ("inferSchema", "true")],
            vec!["1|2.5|x|NULL|2020-01-01"],
        ),
    ] {
        assert_eq!(csv(text, schema, options).await.unwrap(), expected, "{text:?} {options:?}");
    }
    let doubles = Some("a DOUBLE, b DOUBLE, c DOUBLE");
    let words = [("nanValue", "Q"), ("positiveInf", "P"), ("negativeInf", "N")];
    let rows = csv("NaN,Inf,-Inf\nnan,inf,x\nQ,P,N\n", doubles, &words).await.unwrap();
    assert_eq!(rows, ["NULL|NULL|NULL", "NaN|NULL|NULL", "NaN|inf|-inf"]);
    let options = [("header", "true"), ("enforceSchema", "false")];
    let error = csv("y,x\n1,2\n", two, &options).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DatatypeMismatch);
    assert!(error.message().contains("has 'y' where the schema has 'x'"), "{error}");
    assert_eq!(csv("x\n1\n", two, &options).await.unwrap_err().code(), ErrorCode::DatatypeMismatch);
}

/// Recorded from Spark 4.3, rows sorted.
#[tokio::test]
async fn json_and_text_options() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let json = async |text: &str, schema: &str, options: &[(&str, &str)]| {
        nested(at, "x.json", text.as_bytes());
        table("json", at, Some(schema), options).await.unwrap().1
    };
    let arrays = "[{\"a\":1},{\"a\":2}]\n{\"a\":3}\n[]\n[1]\n";
    assert_eq!(json(arrays, "a INT", &[]).await, ["1", "2", "3", "NULL"]);
    let bad = "[{\"a\":1},{\"a\":\"x\"}]\n{\"a\":3}\n[]\n[1]\nbad\n";
    let whole = "[{\"a\":1},{\"a\":\"x\"}]";
    assert_eq!(
        json(bad, "a INT, _corrupt_record STRING", &[]).await,
        [format!("1|{whole}"), "3|NULL".into(), "NULL|[1]".into(), format!("NULL|{whole}"), "NULL|bad".into()]
    );
    assert_eq!(json(bad, "a INT", &[("mode", "DROPMALFORMED")]).await, ["3"]);
    assert_eq!(json("[{\"a\":1},\n {\"a\":2}]", "a INT", &[("multiLine", "true")]).await, ["1", "2"]);
    assert_eq!(json("{\"a\":\n1}\n{\"a\":2}", "a INT", &[("multiLine", "true")]).await, ["1"]);
    assert_eq!(json("{\"a\":1};{\"a\":\n2}", "a INT", &[("lineSep", ";")]).await, ["1", "2"]);
    nested(at, "x.json", b"a;b\nc;");
    assert_eq!(table("text", at, None, &[("lineSep", ";")]).await.unwrap().1, ["a", "b\nc"]);
    assert_eq!(table("text", at, None, &[("wholetext", "true")]).await.unwrap().1, ["a;b\nc;"]);
    nested(at, "x.json", b"{\"a\":1,\"A\":2}\n");
    assert_eq!(table("json", at, None, &[]).await.unwrap_err().code(), ErrorCode::ColumnAlreadyExists);
    std::fs::remove_file(at.join("x.json")).unwrap();
    assert_eq!(table("json", at, None, &[]).await.unwrap_err().code(), ErrorCode::UnableToInferSchema);
}

#[tokio::test]
async fn a_table_is_what_was_there_and_may_be_bounded_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(at, "a", b"1\n", 0);
    put(at, "b", b"2\n", 3600);
    let path = at.to_string_lossy().into_owned();
    let files = load(Reading::Table, "text", None, &[("path", &path), ("maxFilesPerTrigger", "1")]).await.unwrap();
    put(at, "c", b"3\n", 0);
    assert_eq!(rows_in(&files, 9).await.unwrap(), ["1", "2"]);
    let after = [("path", path.as_str()), ("modifiedAfter", "2023-11-14T22:43:20")];
    assert_eq!(rows_in(&load(Reading::Table, "text", None, &after).await.unwrap(), 9).await.unwrap(), ["2"]);
    let before = [("path", path.as_str()), ("modifiedBefore", "2023-11-14T22:43:20")];
    assert_eq!(rows_in(&load(Reading::Table, "text", None, &before).await.unwrap(), 9).await.unwrap(), ["1", "3"]);
    std::fs::remove_file(at.join("a")).unwrap();
    let error = rows_in(&files, 9).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PathNotFound);
    let options = [("path", path.as_str()), ("ignoreMissingFiles", "true")];
    let files = load(Reading::Table, "text", None, &options).await.unwrap();
    std::fs::remove_file(at.join("b")).unwrap();
    assert_eq!(rows_in(&files, 9).await.unwrap(), ["3"]);
}

#[tokio::test]
async fn read_files_are_removed_or_kept_elsewhere_a_batch_later() {
    for mode in ["delete", "archive"] {
        let (directory, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = directory.path();
        for (name, time) in [("a", 1), ("b", 2), ("c", 3)] {
            put(at, name, name.as_bytes(), time);
        }
        let kept = archive.path().to_string_lossy().into_owned();
        let options = [("cleanSource", mode), ("sourceArchiveDir", kept.as_str()), ("maxFilesPerTrigger", "1")];
        let log = MemoryLog::default();
        let mut source = opened(FileFormat::Text, at, &options, &log).await;
        let there = || ["a", "b", "c"].map(|name| at.join(name).exists());
        let (one, _) = step(&mut source, &Offset::Null, Admission::Limited).await;
        source.commit(&one).await.unwrap();
        assert_eq!(there(), [true; 3]);
        let (two, _) = step(&mut source, &one, Admission::Limited).await;
        assert_eq!(there(), [false, true, true]);
        source.commit(&two).await.unwrap();
        // A restart begins where the last commit ended and removes that batch's file with the next one's beginning.
        let mut source = opened(FileFormat::Text, at, &options, &log).await;
        source.commit(&two).await.unwrap();
        let (_, names) = step(&mut source, &two, Admission::Limited).await;
        assert_eq!((names, there()), (vec!["c".to_string()], [false, false, true]));
        let moved = archive.path().join(at.strip_prefix("/").unwrap()).join("b");
        assert_eq!(moved.exists(), mode == "archive");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_string_lossy().into_owned();
    let inside = format!("{path}/archive");
    let options = [("path", path.as_str()), ("cleanSource", "archive"), ("sourceArchiveDir", inside.as_str())];
    let error = load(Reading::Stream, "text", None, &options).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidOption);
}

#[tokio::test]
async fn a_long_backlog_is_listed_once_for_many_batches() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for n in 0..1005 {
        put(at, &format!("{n:04}"), b"1", 10);
    }
    let mut source = opened(FileFormat::Text, at, &[("maxFilesPerTrigger", "2")], &MemoryLog::default()).await;
    let mut end = Offset::Null;
    let mut names = Vec::new();
    for batch in 0..4 {
        let read = step(&mut source, &end, Admission::Limited).await;
        end = read.0;
        names.extend(read.1);
        if batch == 0 {
            // Older than all others: it waits until the directory is listed again.
            put(at, "early", b"2", 0);
        }
    }
    assert_eq!(names, ["0000", "0001", "0002", "0003", "0004", "0005", "early", "0006"]);
}
