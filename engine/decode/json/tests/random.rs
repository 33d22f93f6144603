//! Arbitrary bytes never panic, and valid records decode to what a slow reader of the same rules finds in them.

use super::decoder;
use crate::decode::json::JsonOptions;
use crate::source::Origin;
use arrow::array::{AsArray, BinaryArray};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;
use serde_json::Value;

const DDL: &str = "a STRING, b DOUBLE, c BIGINT, d BOOLEAN, t TIMESTAMP, day DATE, p DECIMAL(20,3), \
                   l ARRAY<STRUCT<x: INT, y: MAP<STRING, STRING>>>, x BINARY, _corrupt_record STRING";

/// Pieces that reach further into the decoder than noise does.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "'",
            "\\",
            "\\u",
            "\\ud800",
            "\n",
            "\"a\":",
            "\"b\":",
            "\"c\":",
            "\"t\":",
            "\"day\":",
            "\"p\":",
            "\"l\":",
            "\"x\":",
            "\"y\":",
            "1",
            "-",
            ".",
            "e9",
            "99999999999999999999",
            "true",
            "null",
            "NaN",
            "-INF",
            "\"2024-01-01T00:00:00\"",
            "\"2024\"",
            "\"é\"",
            "{\"a\":1,",
            "[{\"x\":1,\"y\":{\"k\":2}}]",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i64..1000).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::from),
        (-100_000i32..100_000).prop_map(|cents| Value::from(f64::from(cents) / 100.0)),
        any::<String>().prop_map(Value::from),
        "[a-z]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z]{1,3}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What a string column takes of a value.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(records in proptest::collection::vec(hostile(), 0..6)) {
        let mut decoder = decoder(DDL, JsonOptions::default());
        let text = records.join(&b'\n');
        let decoded = decoder.decode_lines(&text, &Origin::Process).unwrap();
        prop_assert!(decoded.columns.iter().all(|column| column.len() == decoded.rows));
        let values = BinaryArray::from_iter_values(&records);
        let decoded = decoder.decode_values(&values, &Origin::Process).unwrap();
        prop_assert_eq!(decoded.rows, records.len());
    }

    #[test]
    fn valid_records_equal_the_reference(
        records in proptest::collection::vec(proptest::collection::vec(("[a-f]", value()), 0..8), 1..8),
        pretty in any::<bool>(),
    ) {
        let records: Vec<Value> = records.into_iter().map(|members| Value::Object(members.into_iter().collect())).collect();
        let texts: Vec<String> = records
            .iter()
            .map(|record| if pretty { serde_json::to_string_pretty(record) } else { serde_json::to_string(record) }.unwrap())
            .collect();
        let mut decoder = decoder("a STRING, b DOUBLE, c BIGINT, d BOOLEAN", JsonOptions::default());
        let values = BinaryArray::from_iter_values(&texts);
        let decoded = decoder.decode_values(&values, &Origin::Process).unwrap();
        for (row, record) in records.iter().enumerate() {
            let strings = decoded.columns[0].as_string::<i32>();
            let string = (!decoded.columns[0].is_null(row)).then(|| strings.value(row));
            // Nested values are given as written, blanks included.
            if !pretty || !record["a"].is_object() && !record["a"].is_array() {
                prop_assert_eq!(string.map(str::to_string), text(&record["a"]));
            }
            let doubles = decoded.columns[1].as_primitive::<Float64Type>();
            let double = (!decoded.columns[1].is_null(row)).then(|| doubles.value(row).to_bits());
            prop_assert_eq!(double, record["b"].as_f64().map(f64::to_bits));
            let longs = decoded.columns[2].as_primitive::<Int64Type>();
            let long = (!decoded.columns[2].is_null(row)).then(|| longs.value(row));
            prop_assert_eq!(long, record["c"].as_i64());
            let booleans = decoded.columns[3].as_boolean();
            let boolean = (!decoded.columns[3].is_null(row)).then(|| booleans.value(row));
            prop_assert_eq!(boolean, record["d"].as_bool());
        }
    }
}
