use super::*;
use crate::config::Config;
use crate::options::Options;
use crate::source::Chunk;
use crate::source::test_log::MemoryLog;
use crate::types::StructType;
use arrow::array::RecordBatch;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, SystemTime};

mod parquet_files;
mod reading;
mod stores;
pub(crate) use parquet_files::{every_type, read_parquet};

fn schema(ddl: &str) -> SchemaRef {
    StructType::from_ddl(ddl).unwrap().to_arrow_schema()
}

/// Writes a file that was last modified `seconds` after a fixed day.
fn put(directory: &Path, name: &str, content: &[u8], seconds: u64) {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn source(format: FileFormat, path: &Path, options: &[(&str, &str)]) -> Result<FileSource> {
    let mut all = Options::from_iter(options.iter().copied());
    all.set("path", path.to_string_lossy().into_owned());
    let mut reader = all.reader(format!("the {} source", format.name()));
    let config = Config::default();
    let settings = Settings::read(format, Reading::Stream, &mut reader, &config)?;
    reader.finish()?;
    let roots = Roots::new(&settings.paths, settings.filter.clone(), &config)?;
    let schema = StructType::from_ddl("value STRING").unwrap();
    Ok(FileSource::new(Arc::new(settings), roots, schema, Arc::new([]), None))
}

async fn opened(format: FileFormat, path: &Path, options: &[(&str, &str)], log: &MemoryLog) -> FileSource {
    let mut source = source(format, path, options).unwrap();
    source.open(Arc::new(log.clone())).await.unwrap();
    source
}

/// Names of the files that a chunked read of `start..end` touches, and the text of every file.
async fn texts(source: &mut FileSource, start: &Offset, end: &Offset, chunk_bytes: usize) -> Vec<(String, String)> {
    let request = ReadRequest { projection: vec![0], chunk_bytes, stop: Arc::default() };
    let mut chunks = source.read(start, end, &request).await.unwrap();
    let mut texts: Vec<(String, String)> = Vec::new();
    while let Some(chunk) = chunks.next().unwrap() {
        let Chunk::Lines(lines) = chunk else { panic!("text files come as lines") };
        let name = lines.path.rsplit('/').next().unwrap().to_string();
        let text = String::from_utf8((lines.load)().unwrap().0.to_vec()).unwrap();
        match texts.last_mut().filter(|(last, _)| *last == name) {
            Some((_, whole)) => whole.push_str(&text),
            None => texts.push((name, text)),
        }
    }
    texts
}

async fn step(source: &mut FileSource, start: &Offset, admission: Admission) -> (Offset, Vec<String>) {
    let proposal = source.propose(start, admission).await.unwrap();
    assert_eq!(proposal.end, proposal.latest);
    let names = texts(source, start, &proposal.end, 1 << 20).await.into_iter().map(|(name, _)| name).collect();
    (proposal.end, names)
}

#[tokio::test]
async fn takes_files_by_time_then_path_and_each_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(at, "c.json", b"1\n", 5);
    put(at, "b.json", b"2\n", 9);
    put(at, "a.json", b"3\n", 9);
    put(at, "_hidden.json", b"4\n", 1);
    put(at, ".hidden.json", b"5\n", 1);
    std::fs::create_dir(at.join("sub")).unwrap();
    put(&at.join("sub"), "d.json", b"6\n", 1);
    let log = MemoryLog::default();
    let mut source = opened(FileFormat::Json, at, &[("maxFilesPerTrigger", "2")], &log).await;
    assert_eq!(source.description(), format!("FileStreamSource[file:{}]", at.display()));
    let start = source.initial().await.unwrap();
    assert_eq!(start, Offset::Null);
    let (end, names) = step(&mut source, &start, Admission::Limited).await;
    assert_eq!((end.clone(), names), (json!({"logOffset": 0}), vec!["c.json".into(), "a.json".into()]));
    source.commit(&end).await.unwrap();
    // A file that appears while the query runs, older than what was read, and one that is rewritten.
    put(at, "late.json", b"7\n", 2);
    put(at, "c.json", b"1\n8\n", 99);
    let (end, names) = step(&mut source, &end, Admission::Limited).await;
    assert_eq!((end.clone(), names), (json!({"logOffset": 1}), vec!["late.json".into(), "b.json".into()]));
    source.commit(&end).await.unwrap();
    assert_eq!(step(&mut source, &end, Admission::Limited).await, (end, vec![]));
}

#[tokio::test]
async fn an_empty_directory_proposes_its_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut source = opened(FileFormat::Json, directory.path(), &[], &MemoryLog::default()).await;
    let proposal = source.propose(&Offset::Null, Admission::Limited).await.unwrap();
    assert_eq!(proposal, Proposal { end: Offset::Null, latest: Offset::Null });
}

#[tokio::test]
async fn a_restart_gives_the_logged_batch_and_nothing_newer() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(at, "a.json", b"1\n", 1);
    put(at, "b.json", b"22\n", 2);
    let log = MemoryLog::default();
    let mut first = opened(FileFormat::Json, at, &[("maxFilesPerTrigger", "1")], &log).await;
    let (one, _) = step(&mut first, &Offset::Null, Admission::Limited).await;
    // Logged by the source, and the process ends before the runner logs the offset.
    first.propose(&one, Admission::Limited).await.unwrap();
    let entry = String::from_utf8(log.0.lock().get(&1).unwrap().to_vec()).unwrap();
    assert_eq!(
        entry,
        format!(r#"{{"files":[{{"path":"file://{}/b.json","size":3,"modified_ms":1700000002000}}]}}"#, at.display())
    );
    put(at, "c.json", b"333\n", 3);
    let mut second = opened(FileFormat::Json, at, &[], &log).await;
    assert_eq!(texts(&mut second, &Offset::Null, &one, 9).await, [("a.json".into(), "1\n".into())]);
    let (two, names) = step(&mut second, &one, Admission::Limited).await;
    assert_eq!((two.clone(), names), (json!({"logOffset": 1}), vec!["b.json".into()]));
    let (three, names) = step(&mut second, &two, Admission::Limited).await;
    assert_eq!((three, names), (json!({"logOffset": 2}), vec!["c.json".into()]));
    // Under trigger(once) the leftover and the new file make one batch.
    let log =
        MemoryLog(Arc::new(parking_lot::Mutex::new(log.0.lock().range(..2).map(|(i, b)| (*i, b.clone())).collect())));
    let mut third = opened(FileFormat::Json, at, &[("maxFilesPerTrigger", "1")], &log).await;
    let (end, names) = step(&mut third, &one, Admission::Unlimited).await;
    assert_eq!((end, names), (json!({"logOffset": 2}), vec!["b.json".into(), "c.json".into()]));
}

#[tokio::test]
async fn limits_by_bytes_and_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (name, size, time) in [("a", 100, 1), ("b", 10, 2), ("c", 10, 3), ("d", 5, 3)] {
        put(at, name, &vec![b'\n'; size], time);
    }
    let mut source = opened(FileFormat::Text, at, &[("maxBytesPerTrigger", "20")], &MemoryLog::default()).await;
    let (one, names) = step(&mut source, &Offset::Null, Admission::Limited).await;
    assert_eq!(names, ["a"]);
    let (two, names) = step(&mut source, &one, Admission::Limited).await;
    assert_eq!(names, ["b", "c"]);
    assert_eq!(step(&mut source, &two, Admission::Limited).await.1, ["d"]);
    let options = [("latestFirst", "true"), ("maxFilesPerTrigger", "3")];
    let mut source = opened(FileFormat::Text, at, &options, &MemoryLog::default()).await;
    assert_eq!(step(&mut source, &Offset::Null, Admission::Limited).await.1, ["c", "d", "b"]);
}

#[tokio::test]
async fn frozen_sources_see_nothing_new_and_keep_their_limits() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(at, "a", b"1", 1);
    put(at, "b", b"2", 2);
    let mut source = opened(FileFormat::Text, at, &[("maxFilesPerTrigger", "1")], &MemoryLog::default()).await;
    source.freeze().await.unwrap();
    put(at, "0", b"3", 0);
    let (one, names) = step(&mut source, &Offset::Null, Admission::Limited).await;
    assert_eq!(names, ["a"]);
    let (two, names) = step(&mut source, &one, Admission::Limited).await;
    assert_eq!(names, ["b"]);
    assert_eq!(step(&mut source, &two, Admission::Limited).await, (two, vec![]));
}

#[tokio::test]
async fn old_files_are_left_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(at, "old-but-first", b"1", 0);
    put(at, "new", b"2", 100);
    let mut source = opened(FileFormat::Text, at, &[("maxFileAge", "10s")], &MemoryLog::default()).await;
    let (one, names) = step(&mut source, &Offset::Null, Admission::Limited).await;
    assert_eq!(names, ["old-but-first", "new"]);
    put(at, "too-old", b"3", 89);
    put(at, "just-right", b"4", 90);
    assert_eq!(step(&mut source, &one, Admission::Limited).await.1, ["just-right"]);
    assert_eq!(source.metrics()["filesOlderThanMaxFileAge"], 1);
}

#[tokio::test]
async fn names_alone_can_be_the_identity() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(one.path(), "a", b"1", 0);
    put(two.path(), "a", b"1", 0);
    put(two.path(), "b", b"2", 0);
    let log = MemoryLog::default();
    let mut source = opened(FileFormat::Text, one.path(), &[("fileNameOnly", "true")], &log).await;
    let (end, _) = step(&mut source, &Offset::Null, Admission::Limited).await;
    let mut source = opened(FileFormat::Text, two.path(), &[("fileNameOnly", "true")], &log).await;
    assert_eq!(step(&mut source, &end, Admission::Limited).await.1, ["b"]);
}

#[tokio::test]
async fn odd_names_and_a_single_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let names = ["a b.json", "a%20b.json", "a#b.json", "ü[1]~*.json", "q?x=1.json"];
    for name in names {
        put(at, name, name.as_bytes(), 0);
    }
    let mut source = opened(FileFormat::Json, at, &[], &MemoryLog::default()).await;
    let end = source.propose(&Offset::Null, Admission::Limited).await.unwrap().end;
    let mut read: Vec<String> =
        texts(&mut source, &Offset::Null, &end, 9).await.into_iter().map(|(_, text)| text).collect();
    read.sort();
    let mut wanted = names.map(String::from);
    wanted.sort();
    assert_eq!(read, wanted);
    let mut source = opened(FileFormat::Json, &at.join("a b.json"), &[], &MemoryLog::default()).await;
    assert_eq!(step(&mut source, &Offset::Null, Admission::Limited).await.1, ["a b.json"]);
}

#[tokio::test]
async fn a_vanished_or_shrunken_file_is_named_and_a_grown_one_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(at, "a.json", b"1\n2\n", 0);
    let mut source = opened(FileFormat::Json, at, &[], &MemoryLog::default()).await;
    let end = source.propose(&Offset::Null, Admission::Limited).await.unwrap().end;
    let request = ReadRequest { projection: vec![0], chunk_bytes: 1, stop: Arc::default() };
    put(at, "a.json", b"1\n2\n3\n", 9);
    assert_eq!(texts(&mut source, &Offset::Null, &end, 100).await, [("a.json".into(), "1\n2\n".into())]);
    put(at, "a.json", b"1\n", 9);
    let error = source.read(&Offset::Null, &end, &request).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::Io);
    assert!(error.message().starts_with(&format!("file://{}/a.json had 4 bytes", at.display())), "{error}");
    std::fs::remove_file(at.join("a.json")).unwrap();
    let error = source.read(&Offset::Null, &end, &request).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::PathNotFound);
    assert!(error.message().contains("a.json") && error.message().contains("vanished"), "{error}");
}

#[tokio::test]
async fn refusals_name_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let missing = at.join("missing");
    let error = source(FileFormat::Json, &missing, &[]).unwrap().check().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PathNotFound);
    assert_eq!(error.message(), format!("Path does not exist: file:{}", missing.display()));
    let refused = |options: &[(&str, &str)]| source(FileFormat::Json, at, options).err().unwrap();
    assert_eq!(refused(&[("recursiveLookup", "true")]).code(), ErrorCode::InvalidOption);
    assert_eq!(refused(&[("recursiveFileLookup", "true"), ("basePath", "/")]).code(), ErrorCode::InvalidOption);
    assert_eq!(refused(&[("modifiedBefore", "2026-01-01")]).code(), ErrorCode::UnsupportedOperation);
    assert_eq!(refused(&[("allowComments", "true")]).code(), ErrorCode::UnsupportedOperation);
    assert_eq!(refused(&[("encoding", "utf-16")]).code(), ErrorCode::UnsupportedOperation);
    assert_eq!(refused(&[("cleanSource", "archive")]).code(), ErrorCode::InvalidOption);
    assert_eq!(refused(&[("maxFilesPerTrigger", "0")]).code(), ErrorCode::InvalidOption);
    assert_eq!(refused(&[("maxFilesPerTrigger", "1"), ("maxBytesPerTrigger", "1")]).code(), ErrorCode::InvalidOption);
    let config = Config::default();
    let options = Options::from_iter([("path", at.to_string_lossy().into_owned())]);
    let load = |format, schema: Option<&str>| {
        let schema = schema.map(|ddl| StructType::from_ddl(ddl).unwrap());
        Files::load(format, Reading::Stream, schema, &options, &config)
    };
    assert_eq!(load(FileFormat::Csv, None).await.unwrap_err().code(), ErrorCode::SchemaRequired);
    assert_eq!(load(FileFormat::Text, Some("a INT")).await.unwrap_err().code(), ErrorCode::DatatypeMismatch);
    assert_eq!(load(FileFormat::Json, Some("a INT, A INT")).await.unwrap_err().code(), ErrorCode::ColumnAlreadyExists);
    assert_eq!(load(FileFormat::Text, None).await.unwrap().source().schema(), schema("value STRING"));
    put(at, "a.json.LZ4", b"1", 0);
    let mut compressed = opened(FileFormat::Json, at, &[], &MemoryLog::default()).await;
    let error = compressed.propose(&Offset::Null, Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert!(error.message().contains("a.json.LZ4 is compressed in a way that is not read (.LZ4)"), "{error}");
    let error = compressed.propose(&json!({"logOffset": 7}), Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
    let error = compressed.propose(&json!("7"), Admission::Limited).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
}

#[tokio::test]
async fn an_empty_file_is_a_batch_without_chunks() {
    let directory = tempfile::tempdir().unwrap();
    for format in [FileFormat::Json, FileFormat::Parquet] {
        put(directory.path(), "empty", b"", 0);
        let mut source = opened(format, directory.path(), &[], &MemoryLog::default()).await;
        let end = source.propose(&Offset::Null, Admission::Limited).await.unwrap().end;
        assert_eq!(end, json!({"logOffset": 0}));
        let request = ReadRequest { projection: vec![0], chunk_bytes: 10, stop: Arc::default() };
        assert!(source.read(&Offset::Null, &end, &request).await.unwrap().next().unwrap().is_none());
    }
}

#[tokio::test]
async fn csv_headers_and_byte_order_marks_go() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(at, "1", b"\xEF\xBB\xBFname,n\r\na,1\r\nb,2", 1);
    put(at, "2", b"a header without rows", 2);
    put(at, "3", b"x\n\xEF\xBB\xBFy\n", 3);
    for chunk_bytes in 1..40 {
        let mut source = opened(FileFormat::Csv, at, &[("header", "true")], &MemoryLog::default()).await;
        let end = source.propose(&Offset::Null, Admission::Limited).await.unwrap().end;
        let texts = texts(&mut source, &Offset::Null, &end, chunk_bytes).await;
        let wanted = [("1", "a,1\r\nb,2"), ("2", ""), ("3", "\u{feff}y\n")];
        assert_eq!(texts, wanted.map(|(name, text)| (name.to_string(), text.to_string())), "{chunk_bytes}");
    }
}

mod boundaries {
    use super::*;
    use proptest::prelude::*;

    fn content() -> impl Strategy<Value = String> {
        // Long lines pass the slack of one read, so that the growing reads run too.
        let line = prop_oneof![8 => "[a-c]{0,12}", 1 => "[x]{1,3}".prop_map(|text| text.repeat(9000))];
        let ending = prop_oneof![Just("\n"), Just("\r\n")];
        (prop::collection::vec((line, ending), 0..12), any::<bool>()).prop_map(|(lines, trailing)| {
            let mut text: String = lines.iter().flat_map(|(line, ending)| [line.as_str(), ending]).collect();
            if !trailing && text.ends_with('\n') {
                text.pop();
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_chunk_size_gives_every_record_once(text in content(), chunk_bytes in prop_oneof![1usize..40, 4000usize..30000]) {
            // Few enough chunks that a case takes milliseconds; short texts are still cut into single bytes.
            let chunk_bytes = chunk_bytes.max(text.len() / 40);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (whole, chunks) = runtime.block_on(async {
                let directory = tempfile::tempdir().unwrap();
                put(directory.path(), "a", text.as_bytes(), 0);
                let mut source = opened(FileFormat::Text, directory.path(), &[], &MemoryLog::default()).await;
                let end = source.propose(&Offset::Null, Admission::Limited).await.unwrap().end;
                let request = ReadRequest { projection: vec![0], chunk_bytes, stop: Arc::default() };
                let mut chunks = source.read(&Offset::Null, &end, &request).await.unwrap();
                let mut parts = Vec::new();
                while let Some(Chunk::Lines(lines)) = chunks.next().unwrap() {
                    let (bytes, offset) = (lines.load)().unwrap();
                    parts.push((offset as usize, String::from_utf8(bytes.to_vec()).unwrap()));
                }
                (parts.iter().map(|(_, part)| part.as_str()).collect::<String>(), parts)
            });
            prop_assert_eq!(&whole, &text);
            let mut at = 0;
            for (offset, part) in chunks {
                if part.is_empty() {
                    continue;
                }
                // Whole records only, and they begin where the chunk says.
                prop_assert!(at == 0 || text.as_bytes()[at - 1] == b'\n');
                prop_assert_eq!(offset, at);
                at += part.len();
            }
        }
    }
}
