//! The bytes of each format, as Spark 4.3 writes them.

use super::*;
use crate::decode::{JsonDecoder, JsonOptions, Wanted};
use crate::functions::from_json::from_json;
use crate::source::Origin;
use arrow::array::Array;
use std::io::Read;

/// The content of the one file that a batch of rows becomes, and its name's ending.
async fn content(format: &str, options: &[(&str, &str)], rows: &RecordBatch) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = file_sink(format, directory.path().to_str().unwrap(), options, &[]).unwrap();
    sink.open(&writer(QUERY, &rows.schema())).await.unwrap();
    written(&mut sink, 0, std::slice::from_ref(rows)).await;
    let names = names(directory.path());
    assert_eq!(names.len(), 1, "{names:?}");
    let ending = names[0].split_once('.').unwrap().1.to_string();
    (ending, std::fs::read(directory.path().join(&names[0])).unwrap())
}

async fn text(format: &str, options: &[(&str, &str)], rows: &RecordBatch) -> String {
    String::from_utf8(content(format, options, rows).await.1).unwrap()
}

fn strings(columns: &[(&str, &[Option<&str>])]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.iter().map(|(name, values)| (*name, Arc::new(StringArray::from(values.to_vec())) as ArrayRef, true)),
    )
    .unwrap()
}

fn cells() -> RecordBatch {
    strings(&[(
        "s",
        &[
            Some("plain"),
            Some("a,b"),
            Some("q\"uote"),
            Some("back\\slash"),
            Some("back\\\"bq"),
            Some("comma,back\\slash"),
            Some("comma,end\\"),
            Some(" lead"),
            Some("trail "),
            Some("new\nline"),
            Some("cr\rx"),
            Some(""),
            Some("#hash"),
            None,
            Some("\"start"),
            Some("a'b"),
            Some("tab\tx"),
            Some("é"),
            Some("\0n"),
            Some("-"),
            Some("\""),
            Some("\\"),
            Some("a\"b,c\\d\\\"e"),
        ],
    )])
}

/// Recorded from Spark: each cell of [`cells`] in turn, under one option after another.
#[tokio::test]
async fn csv_cells_are_quoted_as_spark_quotes_them() {
    for (options, expected) in [
        (
            vec![],
            "plain\n\"a,b\"\n\"q\\\"uote\"\nback\\slash\n\"back\\\\\\\"bq\"\n\"comma,back\\\\slash\"\n\"comma,end\\\\\"\nlead\ntrail\n\"new\nline\"\n\"cr\rx\"\n\"\"\n\"#hash\"\n\"\\\"start\"\na'b\ntab\tx\né\nn\n-\n\"\\\"\"\n\\\n\"a\\\"b,c\\\\d\\\\\\\"e\"\n",
        ),
        (
            vec![("quoteAll", "true")],
            "\"plain\"\n\"a,b\"\n\"q\\\"uote\"\n\"back\\\\slash\"\n\"back\\\\\\\"bq\"\n\"comma,back\\\\slash\"\n\"comma,end\\\\\"\n\"lead\"\n\"trail\"\n\"new\nline\"\n\"cr\rx\"\n\"\"\n\"#hash\"\n\"\"\n\"\\\"start\"\n\"a'b\"\n\"tab\tx\"\n\"é\"\n\"n\"\n\"-\"\n\"\\\"\"\n\"\\\\\"\n\"a\\\"b,c\\\\d\\\\\\\"e\"\n",
        ),
        (
            vec![("escapeQuotes", "false")],
            "plain\n\"a,b\"\nq\"uote\nback\\slash\nback\\\"bq\n\"comma,back\\\\slash\"\n\"comma,end\\\\\"\nlead\ntrail\n\"new\nline\"\n\"cr\rx\"\n\"\"\n\"#hash\"\n\"\\\"start\"\na'b\ntab\tx\né\nn\n-\n\"\\\"\"\n\\\n\"a\\\"b,c\\\\d\\\\\\\"e\"\n",
        ),
        (
            vec![("escape", "\""), ("nullValue", "NULL"), ("emptyValue", "EMPTY")],
            "plain\n\"a,b\"\n\"q\"\"uote\"\nback\\slash\n\"back\\\"\"bq\"\n\"comma,back\\slash\"\n\"comma,end\\\"\nlead\ntrail\n\"new\nline\"\n\"cr\rx\"\nEMPTY\n\"#hash\"\nNULL\n\"\"\"start\"\na'b\ntab\tx\né\nn\n-\n\"\"\"\"\n\\\n\"a\"\"b,c\\d\\\"\"e\"\n",
        ),
        (
            vec![("sep", "||"), ("header", "true")],
            "s\nplain\na,b\n\"q\\\"uote\"\nback\\slash\n\"back\\\\\\\"bq\"\ncomma,back\\slash\ncomma,end\\\nlead\ntrail\n\"new\nline\"\n\"cr\rx\"\n\"\"\n\"#hash\"\n\"\\\"start\"\na'b\ntab\tx\né\nn\n-\n\"\\\"\"\n\\\n\"a\\\"b,c\\\\d\\\\\\\"e\"\n",
        ),
        (
            vec![("quote", "'"), ("lineSep", "|")],
            "plain|'a,b'|q\"uote|back\\slash|back\\\"bq|'comma,back\\\\slash'|'comma,end\\\\'|lead|trail|'new\nline'|'cr\rx'|\"\"|'#hash'|\"start|'a\\'b'|tab\tx|é|n|-|\"|\\|'a\"b,c\\\\d\\\\\"e'|",
        ),
        (
            vec![
                ("charToEscapeQuoteEscaping", "^"),
                ("ignoreLeadingWhiteSpace", "false"),
                ("ignoreTrailingWhiteSpace", "false"),
            ],
            "plain\n\"a,b\"\n\"q\\\"uote\"\nback\\slash\n\"back^\\\\\"bq\"\n\"comma,back^\\slash\"\n\"comma,end^\\\"\n lead\ntrail \n\"new\nline\"\n\"cr\rx\"\n\"\"\n\"#hash\"\n\"\\\"start\"\na'b\ntab\tx\né\n\0n\n-\n\"\\\"\"\n\\\n\"a\\\"b,c^\\d^\\\\\"e\"\n",
        ),
    ] {
        assert_eq!(text("csv", &options, &cells()).await, expected, "{options:?}");
    }
}

#[tokio::test]
async fn csv_blanks_nulls_and_headers_in_several_columns() {
    let cells = [Some("  "), Some(" ,x "), Some("  #c"), Some("\" \""), Some("x\\"), Some("a \"b\" "), Some("q, \n ")];
    let rows = strings(&[("a", &cells), ("b", &cells), ("c", &[None; 7])]);
    assert_eq!(
        text("csv", &[], &rows).await,
        "\"\",\"\",\n\",x\",\",x\",\n#c,#c,\n\"\\\" \\\"\",\"\\\" \\\"\",\nx\\,x\\,\n\"a \\\"b\\\"\",\"a \\\"b\\\"\",\n\"q,\",\"q,\",\n"
    );
    let options = [("escapeQuotes", "false"), ("nullValue", "a,b"), ("emptyValue", "c,d")];
    assert_eq!(text("csv", &options, &rows.slice(0, 1)).await, "\"c,d\",\"c,d\",\"a,b\"\n");
    assert_eq!(text("csv", &[("emptyValue", "")], &rows.slice(0, 1)).await, ",,\n");
    let names = strings(&[(" #a\"b ", &[Some("1")]), ("#b", &[Some("2")])]);
    assert_eq!(text("csv", &[("header", "true")], &names).await, "\"#a\\\"b\",#b\n1,2\n");
    assert_eq!(text("csv", &[("sep", "\\t"), ("header", "true")], &names).await, "\"#a\\\"b\"\t#b\n1\t2\n");
}

/// A row with most types.
fn typed() -> RecordBatch {
    let ddl = "i INT, d DOUBLE, e DOUBLE, nan DOUBLE, f FLOAT, dec DECIMAL(10,2), b BOOLEAN, t TIMESTAMP, dt DATE, n STRING, \
               `S p,c` STRING, em STRING, x BINARY";
    let json = r#"{"i":1,"d":1.5,"e":1e20,"nan":"NaN","f":0.1,"dec":1.5,"b":true,"t":"2024-01-01T10:00:00.123456Z",
        "dt":"2024-01-02","S p,c":"a,b","em":"","x":"YWI="}"#;
    let schema = StructType::from_ddl(ddl).unwrap();
    let mut decoder = JsonDecoder::new(&schema, &Wanted::all(schema.fields.len()), JsonOptions::default()).unwrap();
    let (row, rejected) = from_json(&StringArray::from(vec![json]), &mut decoder, &Origin::Process).unwrap();
    assert_eq!((rejected.malformed, row.len()), (0, 1));
    RecordBatch::from(row)
}

#[tokio::test]
async fn values_have_sparks_text() {
    let rows = typed();
    let header = "i,d,e,nan,f,dec,b,t,dt,n,\"S p,c\",em,x\n";
    for (options, expected) in [
        (vec![("header", "true")], format!("{header}1,1.5,1.0E20,NaN,0.1,1.50,true,2024-01-01T10:00:00.123Z,2024-01-02,,\"a,b\",\"\",[61 62]\n")),
        (
            vec![("timestampFormat", "yyyy/MM/dd HH:mm"), ("dateFormat", "dd.MM.yyyy"), ("quoteAll", "true")],
            "\"1\",\"1.5\",\"1.0E20\",\"NaN\",\"0.1\",\"1.50\",\"true\",\"2024/01/01 10:00\",\"02.01.2024\",\"\",\"a,b\",\"\",\"[61 62]\"\n".to_string(),
        ),
        (
            vec![("timeZone", "Europe/Berlin"), ("nullValue", "NULL"), ("emptyValue", "E")],
            "1,1.5,1.0E20,NaN,0.1,1.50,true,2024-01-01T11:00:00.123+01:00,2024-01-02,NULL,\"a,b\",E,[61 62]\n".to_string(),
        ),
    ] {
        assert_eq!(text("csv", &options, &rows).await, expected, "{options:?}");
    }
    for (options, expected) in [
        (vec![], r#"{"i":1,"d":1.5,"e":1.0E20,"nan":"NaN","f":0.1,"dec":1.50,"b":true,"t":"2024-01-01T10:00:00.123Z","dt":"2024-01-02","S p,c":"a,b","em":"","x":"YWI="}"#.to_string() + "\n"),
        (
            vec![("ignoreNullFields", "false"), ("timestampFormat", "yyyy/MM/dd HH:mm"), ("dateFormat", "dd.MM.yyyy"), ("lineSep", ";;;")],
            r#"{"i":1,"d":1.5,"e":1.0E20,"nan":"NaN","f":0.1,"dec":1.50,"b":true,"t":"2024/01/01 10:00","dt":"02.01.2024","n":null,"S p,c":"a,b","em":"","x":"YWI="};;;"#.to_string(),
        ),
        (vec![("timeZone", "Europe/Berlin")], r#"{"i":1,"d":1.5,"e":1.0E20,"nan":"NaN","f":0.1,"dec":1.50,"b":true,"t":"2024-01-01T11:00:00.123+01:00","dt":"2024-01-02","S p,c":"a,b","em":"","x":"YWI="}"#.to_string() + "\n"),
    ] {
        assert_eq!(text("json", &options, &rows).await, expected, "{options:?}");
    }
}

/// A local time has neither a zone nor an offset, wherever the session is.
#[tokio::test]
async fn local_times_are_written_as_they_are() {
    let local: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![1_704_067_200_123_456]));
    let rows = RecordBatch::try_from_iter_with_nullable([("l", local, true)]).unwrap();
    let berlin = ("timeZone", "Europe/Berlin");
    assert_eq!(text("csv", &[berlin], &rows).await, "2024-01-01T00:00:00.123\n");
    assert_eq!(text("json", &[berlin], &rows).await, "{\"l\":\"2024-01-01T00:00:00.123\"}\n");
    let pattern = ("timestampNTZFormat", "dd.MM.yyyy HH:mm");
    assert_eq!(text("csv", &[berlin, pattern], &rows).await, "01.01.2024 00:00\n");
    assert_eq!(text("json", &[berlin, pattern], &rows).await, "{\"l\":\"01.01.2024 00:00\"}\n");
}

#[tokio::test]
async fn text_lines_stand_as_they_are() {
    let rows = strings(&[("value", &[Some(" a,\"b\" "), None, Some(""), Some("é\0")])]);
    assert_eq!(text("text", &[], &rows).await, " a,\"b\" \n\n\né\0\n");
    assert_eq!(text("text", &[("lineSep", "##")], &rows).await, " a,\"b\" ######é\0##");
}

#[tokio::test]
async fn text_files_are_compressed_by_sparks_codecs() {
    let rows = strings(&[("x", &[Some("1"); 3000])]);
    let plain = "{\"x\":\"1\"}\n".repeat(3000);
    for (codec, ending) in [
        ("none", ""),
        ("uncompressed", ""),
        ("GZIP", ".gz"),
        ("bzip2", ".bz2"),
        ("deflate", ".deflate"),
        ("zstd", ".zst"),
    ] {
        let (found, bytes) = content("json", &[("compression", codec)], &rows).await;
        assert_eq!(found, format!("json{ending}"));
        assert!(ending.is_empty() || bytes.len() < 1000, "{codec}: {} bytes", bytes.len());
        let mut unpacked = String::new();
        match ending {
            ".gz" => flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut unpacked).unwrap(),
            ".bz2" => bzip2::read::BzDecoder::new(bytes.as_slice()).read_to_string(&mut unpacked).unwrap(),
            ".deflate" => flate2::read::ZlibDecoder::new(bytes.as_slice()).read_to_string(&mut unpacked).unwrap(),
            ".zst" => zstd::Decoder::new(bytes.as_slice()).unwrap().read_to_string(&mut unpacked).unwrap(),
            _ => bytes.as_slice().read_to_string(&mut unpacked).unwrap(),
        };
        assert_eq!(unpacked, plain, "{codec}");
    }
    let (ending, _) = content("csv", &[("compression", "gzip")], &rows).await;
    assert_eq!(ending, "csv.gz");
    let (ending, _) = content("text", &[("compression", "bzip2")], &rows).await;
    assert_eq!(ending, "txt.bz2");
}

#[tokio::test]
async fn options_and_columns_that_do_not_fit_are_named() {
    for (format, key, value) in [
        ("csv", "sep", ""),
        ("csv", "quote", "ab"),
        ("csv", "escape", "ab"),
        ("csv", "lineSep", ""),
        ("csv", "lineSep", "abc"),
        ("csv", "header", "x"),
        ("csv", "encoding", "UTF-16"),
        ("csv", "timestampFormat", "QQQQQQ"),
        ("json", "lineSep", ""),
        ("json", "dateFormat", "QQQQQQ"),
        ("json", "compression", "xz"),
        ("json", "header", "true"),
        ("text", "compression", "lzo"),
        ("text", "maxRecordsPerFile", "0"),
        ("parquet", "compression", "brotli"),
    ] {
        let error = file_sink(format, "out", &[(key, value)], &[]).err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidOption, "{format} {key}: {error}");
    }
    let check = async |format, ddl: &str| {
        let schema = StructType::from_ddl(ddl).unwrap().to_arrow_schema();
        file_sink(format, "nowhere", &[], &[]).unwrap().check(OutputMode::Append, &schema).await.unwrap_err()
    };
    for (format, ddl, part) in [
        ("csv", "a INT, st STRUCT<x: INT>", "'st'"),
        ("csv", "a ARRAY<INT>", "'a'"),
        ("csv", "m MAP<STRING, INT>", "'m'"),
        ("text", "x INT", "'x'"),
    ] {
        let error = check(format, ddl).await;
        assert_eq!(error.code(), ErrorCode::UnsupportedDataType, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
    let error = check("text", "x STRING, y STRING").await;
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    assert!(error.message().contains("a single column, and there are 2 (x, y)"), "{error}");
    for format in ["csv", "json", "text"] {
        let schema = StructType::from_ddl("x STRING").unwrap().to_arrow_schema();
        let mut sink = file_sink(format, "nowhere", &[], &[]).unwrap();
        let error = sink.check(OutputMode::Complete, &schema).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::OutputModeUnsupportedSink);
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut sink = file_sink(format, file.path().to_str().unwrap(), &[], &[]).unwrap();
        assert_eq!(sink.check(OutputMode::Append, &schema).await.unwrap_err().code(), ErrorCode::Io);
    }
}
