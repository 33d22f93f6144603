//! JSON as Spark reads it: the recorded matrix, every rule beside it, and hostile input.

mod random;

use super::*;
use arrow::array::{RecordBatch, StringArray, StructArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int32Type, Int64Type, TimestampMicrosecondType,
    UInt32Type,
};
use std::sync::Arc;

pub(super) fn decoder(ddl: &str, options: JsonOptions) -> JsonDecoder {
    let schema = StructType::from_ddl(ddl).unwrap();
    JsonDecoder::new(&schema, &Wanted::all(schema.fields.len()), options).unwrap()
}

fn lines(ddl: &str, text: &[u8]) -> Decoded {
    decoder(ddl, JsonOptions::default()).decode_lines(text, &Origin::Process).unwrap()
}

fn mode(mode: ParseMode) -> JsonOptions {
    JsonOptions { mode, ..Default::default() }
}

fn strings(decoded: &Decoded, column: usize) -> Vec<Option<&str>> {
    decoded.columns[column].as_string::<i32>().iter().collect()
}

/// Spark's recorded `F07_from_json_matrix`: input, then ride_id, fare, n and event_time in seconds; None for a NULL struct.
type Row = (Option<&'static str>, Option<f64>, Option<i32>, Option<i64>);
const NOTHING: Row = (None, None, None, None);
const F07: &[(Option<&str>, Option<Row>)] = &[
    (
        Some(r#"{"ride_id":"r","fare":1.5,"n":3,"event_time":"2024-01-01T10:00:00Z"}"#),
        Some((Some("r"), Some(1.5), Some(3), Some(1_704_103_200))),
    ),
    (Some(r#"{"ride_id":"r"}"#), Some((Some("r"), None, None, None))),
    (Some("not json"), Some(NOTHING)),
    (Some(""), None),
    (Some(r#"{"ride_id":5,"fare":"1.5","n":1.7}"#), Some((Some("5"), None, None, None))),
    (Some(r#"{"n":"x","ride_id":"keep"}"#), Some((Some("keep"), None, None, None))),
    (Some(r#"{"n":99999999999}"#), Some(NOTHING)),
    (Some(r#"[{"ride_id":"x"}]"#), Some(NOTHING)),
    (Some("null"), Some(NOTHING)),
    (Some(r#"{"event_time":1704067200}"#), Some((None, None, None, Some(1_704_067_200)))),
    (Some(r#"{"event_time":"bad","ride_id":"z"}"#), Some((Some("z"), None, None, None))),
    (Some(r#"{"Ride_ID":"case"}"#), Some(NOTHING)),
    (Some(r#"{"ride_id":"a"} trailing"#), Some((Some("a"), None, None, None))),
    (Some(r#"{"ride_id":"a","ride_id":"b"}"#), Some((Some("b"), None, None, None))),
    (Some(r#"{"ride_id":{"x":1}}"#), Some((Some(r#"{"x":1}"#), None, None, None))),
    (Some(r#"{"fare":1}"#), Some((None, Some(1.0), None, None))),
    (Some(r#"{"n":true}"#), Some(NOTHING)),
    (None, None),
];

#[test]
fn f07_from_json_matrix() {
    let mut decoder = decoder("ride_id STRING, fare DOUBLE, n INT, event_time TIMESTAMP", JsonOptions::default());
    let inputs: ArrayRef = Arc::new(StringArray::from_iter(F07.iter().map(|(input, _)| *input)));
    for inputs in [inputs.clone(), arrow::compute::cast(&inputs, &ArrowType::Binary).unwrap()] {
        let decoded = decoder.decode_values(&inputs, &Origin::Process).unwrap();
        let absent = decoded.null_record.as_ref().unwrap();
        let ids = strings(&decoded, 0);
        let fares: Vec<_> = decoded.columns[1].as_primitive::<Float64Type>().iter().collect();
        let counts: Vec<_> = decoded.columns[2].as_primitive::<Int32Type>().iter().collect();
        let times: Vec<_> = decoded.columns[3].as_primitive::<TimestampMicrosecondType>().iter().collect();
        for (row, (input, expected)) in F07.iter().enumerate() {
            assert_eq!(absent.is_null(row), expected.is_none(), "{input:?}");
            let (id, fare, count, time) = expected.unwrap_or(NOTHING);
            let time = time.map(|seconds| seconds * 1_000_000);
            assert_eq!((ids[row], fares[row], counts[row], times[row]), (id, fare, count, time), "{input:?}");
        }
        // not json; three bad fields; x; overflow; array; null; bad time; true.
        assert_eq!(decoded.rejected.malformed, 8);
    }
}

#[test]
fn dictionaries_are_stable_and_keys_in_any_order() {
    let schema = StructType::from_ddl("a INT, city STRING, b INT").unwrap();
    let wanted = [Wanted { field: 1, dictionary: true }, Wanted { field: 2, dictionary: false }];
    let mut decoder = JsonDecoder::new(&schema, &wanted, JsonOptions::default()).unwrap();
    let text = b"{\"a\":1,\"city\":\"sf\",\"b\":2}\n{\"b\":3,\"city\":\"ny\"}\n\n{\"city\":\"sf\",\"x\":[{}],\"b\":4}\n{ \"city\" : null , \"b\" : 5 }\r\n{}";
    let first = decoder.decode_lines(text, &Origin::Process).unwrap();
    let dictionary = first.columns[0].as_dictionary::<UInt32Type>();
    assert_eq!(dictionary.keys().iter().collect::<Vec<_>>(), [Some(0), Some(1), Some(0), None, None]);
    assert_eq!(dictionary.values().as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["sf", "ny"]);
    let numbers: Vec<_> = first.columns[1].as_primitive::<Int32Type>().iter().collect();
    assert_eq!(numbers, [Some(2), Some(3), Some(4), Some(5), None]);
    assert_eq!((first.rows, first.rejected.malformed), (5, 0));
    let second = decoder.decode_lines(b"{\"city\":\"ny\"}\n", &Origin::Process).unwrap();
    let again = second.columns[0].as_dictionary::<UInt32Type>();
    assert_eq!(again.keys().values(), &[1]);
    assert!(Arc::ptr_eq(dictionary.values(), again.values()));
    // A batch of NULLs before any value is known.
    let mut fresh = JsonDecoder::new(&schema, &wanted, JsonOptions::default()).unwrap();
    assert_eq!(fresh.decode_lines(b"{}\n", &Origin::Process).unwrap().columns[0].null_count(), 1);
}

#[test]
fn no_column_wanted_still_counts_rows() {
    let schema = StructType::from_ddl("a INT").unwrap();
    let mut decoder = JsonDecoder::new(&schema, &[], JsonOptions::default()).unwrap();
    assert_eq!(decoder.decode_lines(b"{\"a\":1}\n{}\nbad\n", &Origin::Process).unwrap().rows, 3);
}

#[test]
fn numbers_are_exact_and_typed() {
    let row = lines(
        "d DOUBLE, f FLOAT, b TINYINT, l BIGINT, p DECIMAL(10,2), s STRING",
        br#"{"d":0.1,"f":0.1,"b":127,"l":-9223372036854775808,"p":1.005,"s":1.50}
{"d":123456789.12345678,"f":1e40,"b":128,"l":9223372036854775808,"p":"1,234.5","s":1E2}
{"d":1e999,"f":"NaN","b":-128,"l":1e2,"p":123456789,"s":true}
{"d":-Infinity,"f":16777217,"b":1.0,"l":-0,"p":null,"s":[1, 2]}
{"d":0.3000000000000000444089209850062616169452667236328125,"f":-0.0}
{"d":9007199254740993,"f":"x"}"#,
    );
    let doubles = row.columns[0].as_primitive::<Float64Type>();
    assert_eq!(
        doubles.values(),
        &[
            0.1,
            123_456_789.123_456_78,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.300_000_000_000_000_04,
            9_007_199_254_740_992.0
        ]
    );
    let floats: Vec<_> = row.columns[1].as_primitive::<Float32Type>().iter().collect();
    assert_eq!(
        (floats[0], floats[1], floats[3], floats[5]),
        (Some(0.1), Some(f32::INFINITY), Some(16_777_216.0), None)
    );
    assert!(floats[2].unwrap().is_nan() && floats[4].unwrap().is_sign_negative());
    let bytes: Vec<_> = row.columns[2].as_primitive::<Int8Type>().iter().collect();
    assert_eq!(bytes, [Some(127), None, Some(-128), None, None, None]);
    let longs: Vec<_> = row.columns[3].as_primitive::<Int64Type>().iter().collect();
    assert_eq!(longs, [Some(i64::MIN), None, None, Some(0), None, None]);
    let decimals: Vec<_> = row.columns[4].as_primitive::<Decimal128Type>().iter().collect();
    assert_eq!(decimals, [Some(101), Some(123_450), None, None, None, None]);
    assert_eq!(strings(&row, 5), [Some("1.50"), Some("1E2"), Some("true"), Some("[1, 2]"), None, None]);
}

#[test]
fn strings_escapes_and_quotes() {
    let row = lines(
        "s STRING",
        concat!(
            r#"{"s":"a\"b\\c\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#,
            "\n",
            r#"{"s":"\ud83d alone \ude00"}"#,
            "\n",
            r#"{'s':'single "quotes"'}"#,
            "\n",
            r#"{"\u0073":"escaped key"}"#,
            "\n",
            r#"{"s":"bad \x"}"#,
            "\n",
            r#"{"s":"short \u12"}"#,
            "\n",
            "{\"s\":\"tab\there\"}\n",
            "{\"s\":\"open\n",
            r#"{"s":"a long string that passes several words, with \"quotes\" and é"}"#,
        )
        .as_bytes(),
    );
    assert_eq!(
        strings(&row, 0),
        [
            Some("a\"b\\c/\u{8}\u{c}\n\r\té😀"),
            Some("? alone ?"),
            Some("single \"quotes\""),
            Some("escaped key"),
            None,
            None,
            None,
            None,
            Some("a long string that passes several words, with \"quotes\" and é"),
        ]
    );
    assert_eq!(row.rejected.malformed, 4);
}

#[test]
fn dates_and_times_in_zone_and_pattern() {
    let options = JsonOptions {
        time_zone: Tz::America__New_York,
        timestamp_format: Some("dd/MM/yyyy HH:mm:ss".into()),
        date_format: Some("yyyyMMdd".into()),
        ..Default::default()
    };
    let text = b"{\"t\":\"01/01/2024 00:00:00\",\"d\":\"20240101\"}\n{\"t\":\"2024-01-01\",\"d\":20240101}\n";
    let row = decoder("t TIMESTAMP, d DATE", options).decode_lines(text, &Origin::Process).unwrap();
    let times: Vec<_> = row.columns[0].as_primitive::<TimestampMicrosecondType>().iter().collect();
    assert_eq!(times, [Some((1_704_067_200 + 5 * 3600) * 1_000_000), None]);
    let days: Vec<_> = row.columns[1].as_primitive::<Date32Type>().iter().collect();
    assert_eq!(days, [Some(19_723), None]);
    let row = lines("t TIMESTAMP", b"{\"t\":\"2024-01-01\"}\n{\"t\":1.5}\n{\"t\":9223372036854775807}\n");
    let times: Vec<_> = row.columns[0].as_primitive::<TimestampMicrosecondType>().iter().collect();
    assert_eq!(times, [Some(1_704_067_200_000_000), None, None]);
}

#[test]
fn nested_values_keep_what_is_good() {
    let ddl = "s STRUCT<a: INT, b: STRUCT<c: STRING>>, l ARRAY<INT>, m MAP<STRING, DOUBLE>, ls ARRAY<STRUCT<a: INT>>, x BINARY";
    let row = lines(
        ddl,
        br#"{"s":{"a":1,"b":{"c":{"raw": 1}}},"l":[1,null],"m":{"k":1.5,"z":null},"ls":[{"a":1},{}],"x":"Zm9v"}
{"s":{"a":"bad","b":{"c":"kept"},"u":[]},"l":[1,"x"],"m":{"k":"x"},"ls":[{"a":"x"},{"a":2}],"x":"?"}
{"s":[],"l":{},"m":[],"ls":null,"x":1}"#,
    );
    let batch =
        RecordBatch::try_new(StructType::from_ddl(ddl).unwrap().to_arrow_schema(), row.columns.clone()).unwrap();
    let text = |row| {
        let array: ArrayRef = Arc::new(StructArray::from(batch.clone()));
        let options = crate::functions::to_json::ToJsonOptions { ignore_null_fields: false, ..Default::default() };
        crate::functions::to_json::to_json(&array, &options).unwrap().value(row).to_string()
    };
    assert_eq!(
        text(0),
        r#"{"s":{"a":1,"b":{"c":"{\"raw\": 1}"}},"l":[1,null],"m":{"k":1.5,"z":null},"ls":[{"a":1},{"a":null}],"x":"Zm9v"}"#
    );
    assert_eq!(text(1), r#"{"s":{"a":null,"b":{"c":"kept"}},"l":null,"m":null,"ls":[{"a":null},{"a":2}],"x":null}"#);
    assert_eq!(text(2), r#"{"s":null,"l":null,"m":null,"ls":null,"x":null}"#);
    assert_eq!(row.rejected.malformed, 2);
}

#[test]
fn failfast_names_the_record() {
    let mut decoder = decoder("n INT", mode(ParseMode::FailFast));
    let file = Origin::File { path: "/rides/a.json".into(), offset: 0 };
    let error = decoder.decode_lines(b"{\"n\":1}\n\n{\"n\":\"x\"}\n", &file).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedRecord);
    assert!(
        error
            .message()
            .starts_with("malformed record at file /rides/a.json, line 3: a value does not fit the type of its field;"),
        "{error}"
    );
    let kafka = Origin::Kafka { topic: "rides".into(), partition: 2, offsets: Arc::from([40, 41]) };
    let values = StringArray::from(vec![Some(""), Some("{oops}")]);
    let error = decoder.decode_values(&values, &kafka).unwrap_err();
    assert!(
        error.message().starts_with("malformed record at topic rides, partition 2, offset 41: a key lacks its quotes;"),
        "{error}"
    );
    // What the failed calls have read does not leak into the next.
    assert_eq!(decoder.decode_lines(b"{\"n\":1}\n", &file).unwrap().rows, 1);
}

#[test]
fn dropmalformed_says_what_is_left() {
    let text = b"{\"n\":1}\nbad\n\n{\"n\":2}\n{\"n\":\"x\"}\n{\"n\":3} tail\n";
    let row = decoder("n INT", mode(ParseMode::DropMalformed)).decode_lines(text, &Origin::Process).unwrap();
    assert_eq!(row.columns[0].as_primitive::<Int32Type>().values(), &[1, 2, 3]);
    assert_eq!((row.rows, row.rejected.malformed, row.kept), (3, 2, Some(vec![0, 2, 4])));
}

#[test]
fn corrupt_records_keep_their_text() {
    let row =
        lines("n INT, _corrupt_record STRING", b"{\"n\":1}\nbad \xff\n{\"n\":\"x\"}\n{\"_corrupt_record\":\"no\"}\n");
    assert_eq!(strings(&row, 1), [None, Some("bad \u{fffd}"), Some("{\"n\":\"x\"}"), None]);
    let schema = StructType::from_ddl("_corrupt_record INT").unwrap();
    let error = JsonDecoder::new(&schema, &Wanted::all(1), JsonOptions::default()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DatatypeMismatch);
}

#[test]
fn what_is_wrong_with_a_record() {
    let reason = |text: &str| {
        let mut decoder = decoder("n INT", mode(ParseMode::FailFast));
        match decoder.decode_lines(text.as_bytes(), &Origin::Process) {
            Ok(_) => "fine".to_string(),
            Err(error) => error.message().split(": ").nth(1).unwrap().split(';').next().unwrap().to_string(),
        }
    };
    for (text, expected) in [
        ("{\"n\":01}", "a number lacks digits or begins with 0"),
        ("{\"x\":-}", "a number lacks digits or begins with 0"),
        ("{\"x\":1.}", "a number lacks digits after its point"),
        ("{\"x\":1e}", "a number lacks digits in its exponent"),
        ("{\"x\":1 2}", "a value is followed by neither a comma nor the closing bracket"),
        ("{\"x\":}", "a value is missing"),
        ("{\"x\":tru}", "a word is neither true, false nor null"),
        ("{\"x\" 1}", "a key lacks its colon"),
        ("{\"x\":1,}", "a key lacks its quotes"),
        ("{\"x\":[1,}", "a value is missing"),
        ("{\"x\":{\"y\":1]}", "a value is followed by neither a comma nor the closing bracket"),
        ("{\"x\":\"", "a string does not end"),
        ("{", "a key lacks its quotes"),
        ("{\"x\":[{},[],\"\",null,true,false,-1.5e-3,NaN]}", "fine"),
    ] {
        assert_eq!(reason(text), expected, "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}\n", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(lines("n INT", nested(127).as_bytes()).rejected.malformed, 0);
    assert_eq!(lines("n INT", nested(128).as_bytes()).rejected.malformed, 1);
    assert_eq!(lines("n INT", nested(10_000).as_bytes()).rejected.malformed, 1);
    assert_eq!(lines("x ARRAY<INT>", "{\"x\":".repeat(10_000).as_bytes()).rejected.malformed, 1);
    let digits = format!("{{\"n\":{0},\"d\":{0}.{0}e-{0}}}", "9".repeat(5000));
    assert_eq!(lines("n INT, d DOUBLE, p DECIMAL(38,0)", digits.as_bytes()).rows, 1);
}

#[test]
fn modes_by_name() {
    assert_eq!("dropMalformed".parse::<ParseMode>().unwrap(), ParseMode::DropMalformed);
    assert_eq!("x".parse::<ParseMode>().unwrap_err().code(), ErrorCode::InvalidOption);
}
