//! CSV as Spark reads it.

use super::*;
use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, Float64Type, Int32Type, TimestampMicrosecondType};

fn file(offset: u64) -> Origin {
    Origin::File { path: "rides.csv".into(), offset }
}

fn decode(schema: &str, mode: ParseMode, text: &str) -> Result<Decoded> {
    let schema = StructType::from_ddl(schema).unwrap();
    let wanted = Wanted::all(schema.fields.len());
    CsvDecoder::new(&schema, &wanted, CsvOptions { mode, ..Default::default() })?
        .decode_lines(text.as_bytes(), &file(0))
}

fn strings(decoded: &Decoded, column: usize) -> Vec<Option<&str>> {
    decoded.columns[column].as_string::<i32>().iter().collect()
}

const SCHEMA: &str = "a STRING, n INT";
const LINES: &str = "x,1\ny,bad\nz\nw,2,extra\n\nv,\n";

#[test]
fn permissive_keeps_every_line() {
    let decoded = decode(SCHEMA, ParseMode::Permissive, LINES).unwrap();
    assert_eq!(strings(&decoded, 0), [Some("x"), Some("y"), Some("z"), Some("w"), Some("v")]);
    let numbers: Vec<_> = decoded.columns[1].as_primitive::<Int32Type>().iter().collect();
    assert_eq!(numbers, [Some(1), None, None, Some(2), None]);
    assert_eq!((decoded.rows, decoded.rejected.malformed, decoded.kept), (5, 3, None));
}

#[test]
fn dropmalformed_drops_and_counts() {
    let decoded = decode(SCHEMA, ParseMode::DropMalformed, LINES).unwrap();
    assert_eq!(strings(&decoded, 0), [Some("x"), Some("v")]);
    assert_eq!((decoded.rows, decoded.rejected.malformed, decoded.kept), (2, 3, Some(vec![0, 4])));
}

#[test]
fn failfast_names_file_and_line() {
    let error = decode(SCHEMA, ParseMode::FailFast, LINES).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedRecord);
    assert_eq!(
        error.message(),
        "malformed record at file rides.csv, line 2: a value does not fit the type of its column; the mode is FAILFAST, set \
         mode to PERMISSIVE to get NULL instead"
    );
    let schema = StructType::from_ddl(SCHEMA).unwrap();
    let options = CsvOptions { mode: ParseMode::FailFast, ..Default::default() };
    let mut decoder = CsvDecoder::new(&schema, &Wanted::all(2), options).unwrap();
    let error = decoder.decode_lines(b"x,1\ny\n", &file(100)).unwrap_err();
    assert!(error.message().starts_with("malformed record at file rides.csv, byte 104: the line has fewer"));
    // The decoder goes on with the next chunk.
    assert_eq!(decoder.decode_lines(b"x,1\n", &file(0)).unwrap().rows, 1);
}

#[test]
fn quotes_escapes_and_delimiters() {
    let cases: &[(&str, &[&str])] = &[
        (r#""a,b",c"#, &["a,b", "c"]),
        (r#""a""b",c"#, &[r#"a"b"#, "c"]),
        (r#""a\"b\\",c"#, &[r#"a"b\"#, "c"]),
        (r#""a\b",c"#, &[r"a\b", "c"]),
        (r#"a"b,c"#, &[r#"a"b"#, "c"]),
        (r#""a"b,c"#, &[r#""a"b"#, "c"]),
        (r#""a" ,c"#, &["a", "c"]),
        (r#""open,c"#, &["open,c"]),
        (" a , b", &[" a ", " b"]),
        ("a,", &["a", ""]),
        (",", &["", ""]),
    ];
    for (line, expected) in cases {
        let mut splitter = Splitter::new(b",", Some(b'"'), b'\\', Trim::default());
        let fields = splitter.split(line.as_bytes());
        let fields: Vec<_> = (0..fields.len()).map(|i| std::str::from_utf8(fields.get(i).unwrap()).unwrap()).collect();
        assert_eq!(fields, *expected, "{line}");
    }
    let mut splitter = Splitter::new(b"||", None, b'\\', Trim::default());
    let fields = splitter.split(b"a|b||\"c\"");
    assert_eq!((fields.get(0), fields.get(1), fields.get(2)), (Some(&b"a|b"[..]), Some(&b"\"c\""[..]), None));
}

#[test]
fn types_formats_null_value_and_corrupt_record() {
    let schema = StructType::from_ddl(
        "d DOUBLE, t TIMESTAMP, day DATE, b BOOLEAN, p DECIMAL(10,2), x BINARY, _corrupt_record STRING, l BIGINT",
    )
    .unwrap();
    let options = CsvOptions {
        timestamp_format: Some("dd.MM.yyyy HH:mm".into()),
        null_value: "-".into(),
        time_zone: Tz::Europe__Paris,
        ..Default::default()
    };
    let mut decoder = CsvDecoder::new(&schema, &Wanted::all(8), options).unwrap();
    let text =
        "1.5,01.01.2024 01:00,2024-01-01,TRUE,1.005,x,+7\n-,-,-,-,-,-,-\nNaN,2024-01-01,x,1,x,,9\nnan,,,,,,1.0\n";
    let decoded = decoder.decode_lines(text.as_bytes(), &file(0)).unwrap();
    let doubles: Vec<_> = decoded.columns[0].as_primitive::<Float64Type>().iter().collect();
    assert_eq!((doubles[0], doubles[1], doubles[3]), (Some(1.5), None, None));
    assert!(doubles[2].unwrap().is_nan());
    let times: Vec<_> = decoded.columns[1].as_primitive::<TimestampMicrosecondType>().iter().collect();
    assert_eq!(times, [Some(1_704_067_200_000_000), None, None, None]);
    assert_eq!(decoded.columns[2].as_primitive::<Date32Type>().iter().next().unwrap(), Some(19_723));
    assert_eq!(decoded.columns[3].as_boolean().iter().collect::<Vec<_>>(), [Some(true), None, None, None]);
    assert_eq!(decoded.columns[4].as_primitive::<arrow::datatypes::Decimal128Type>().value(0), 101);
    let corrupt = strings(&decoded, 6);
    assert_eq!(corrupt, [None, None, Some("NaN,2024-01-01,x,1,x,,9"), Some("nan,,,,,,1.0")]);
    assert_eq!(decoded.rejected.malformed, 2);
}

#[test]
fn hostile_bytes_and_refusals() {
    let schema = StructType::from_ddl(SCHEMA).unwrap();
    let mut decoder =
        CsvDecoder::new(&schema, &[Wanted { field: 0, dictionary: true }], CsvOptions::default()).unwrap();
    let decoded = decoder.decode_lines(b"\xff\"\xfe,1\n\"\n\\\n\0,\0\n", &file(0)).unwrap();
    assert_eq!(decoded.rows, 4);
    let error = decode("a ARRAY<INT>", ParseMode::Permissive, "").unwrap_err();
    assert_eq!(error.code(), ErrorCode::DatatypeMismatch);
    let options = CsvOptions { delimiter: String::new(), ..Default::default() };
    assert_eq!(CsvDecoder::new(&schema, &[], options).unwrap_err().code(), ErrorCode::InvalidOption);
}
