//! Schemas as Spark 4.3 infers them.

use super::*;

fn json(text: &str, rules: JsonRules) -> StructType {
    let mut inference = JsonInference::new(JsonOptions::default(), rules, Sampling::new(1.0)).unwrap();
    inference.add(text.as_bytes(), "f").unwrap();
    inference.finish()
}

fn ddl(text: &str) -> StructType {
    StructType::from_ddl(text).unwrap()
}

fn csv(text: &str, header: bool, infer: bool) -> StructType {
    let (first, rest) = text.split_once('\n').unwrap();
    let options = CsvOptions::default();
    let first = super::super::split_record(first.as_bytes(), &options);
    let mut inference = CsvInference::new(options, &first, header, infer, true, Sampling::new(1.0)).unwrap();
    inference.add(if header { rest } else { text }.as_bytes());
    inference.finish()
}

#[test]
fn json_types_merge() {
    let none = JsonRules::default();
    let text = r#"{"a":1,"b":"x","c":{"d":1.5},"e":[1,2],"f":null,"g":true}
{"a":2.5,"b":1,"c":{"z":"q"},"e":[1.5],"g":"t"}
"#;
    assert_eq!(
        json(text, none),
        ddl("a DOUBLE, b STRING, c STRUCT<d: DOUBLE, z: STRING>, e ARRAY<DOUBLE>, f STRING, g STRING")
    );
    let text = r#"{"a":12345678901234567890,"b":[],"c":{},"d":"2020-01-01","t":"2020-01-01T00:00:00Z","k":1}
{"k":{"x":1}}
"#;
    assert_eq!(json(text, none), ddl("a DECIMAL(20,0), b ARRAY<STRING>, d STRING, k STRING, t STRING"));
    assert_eq!(json("{\"a\":1}\nbad\n[1]\n", none), ddl("_corrupt_record STRING, a BIGINT"));
    assert_eq!(json("[{\"a\":1},{\"b\":true}]\n[]\n", none), ddl("a BIGINT, b BOOLEAN"));
    assert_eq!(json("", none), StructType::default());
}

#[test]
fn json_options_change_types() {
    let none = JsonRules::default();
    let rules = JsonRules { primitives_as_string: true, ..none };
    assert_eq!(json(r#"{"a":1,"b":{"c":true,"d":null}}"#, rules), ddl("a STRING, b STRUCT<c: STRING, d: STRING>"));
    let rules = JsonRules { prefers_decimal: true, ..none };
    assert_eq!(json("{\"a\":1.55}\n{\"a\":10}\n", rules), ddl("a DECIMAL(22,2)"));
    let rules = JsonRules { infer_timestamp: true, ..none };
    assert_eq!(json(r#"{"a":"2020-01-01 10:00:00"}"#, rules), ddl("a TIMESTAMP"));
    let rules = JsonRules { drop_field_if_all_null: true, ..none };
    assert_eq!(json(r#"{"a":1,"b":null,"c":[null]}"#, rules), ddl("a BIGINT"));
}

#[test]
fn a_malformed_record_under_failfast_ends_the_inference() {
    let options = JsonOptions { mode: ParseMode::FailFast, ..Default::default() };
    let mut inference = JsonInference::new(options, JsonRules::default(), Sampling::new(1.0)).unwrap();
    let error = inference.add(b"bad\n", "rides.json").unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedRecord);
    assert!(error.message().contains("rides.json"), "{error}");
}

#[test]
fn csv_columns_have_names_and_types() {
    assert_eq!(
        csv("a,b,b,,e\n1,2.5,x,,2020-01-01\n2,3,y,,2021-02-03\n", true, true),
        ddl("a INT, b1 DOUBLE, b2 STRING, _c3 STRING, e DATE")
    );
    assert_eq!(
        csv("1,2147483648,2.5,true,2020-01-01 10:00:00,x,99999999999999999999\n", false, true),
        ddl("_c0 INT, _c1 BIGINT, _c2 DOUBLE, _c3 BOOLEAN, _c4 TIMESTAMP, _c5 STRING, _c6 DECIMAL(20,0)")
    );
    assert_eq!(
        csv("1,1,1,true,2020-01-01\n2.5,2147483648,x,1,2020-01-01 10:00:00\n", false, true),
        ddl("_c0 DOUBLE, _c1 BIGINT, _c2 STRING, _c3 STRING, _c4 TIMESTAMP")
    );
    assert_eq!(csv("1,,a\n,,b\n", false, true), ddl("_c0 INT, _c1 STRING, _c2 STRING"));
    assert_eq!(csv("a,b\n1,2\n", true, false), ddl("a STRING, b STRING"));
}

#[test]
fn a_share_of_the_records_is_even() {
    let mut sampling = Sampling::new(0.25);
    let taken: Vec<usize> = (0..12).filter(|_| sampling.takes()).collect();
    assert_eq!(taken, [0, 4, 8]);
    let mut all = Sampling::new(1.0);
    assert!((0..9).all(|_| all.takes()));
}
