//! Casts with Spark's values and words.

use super::*;
use arrow::array::{BinaryArray, Float64Array, Int64Array, StringArray, StringViewArray};

const ANSI: CastOptions = CastOptions { ansi: true, time_zone: Tz::Europe__Paris };
const LENIENT: CastOptions = CastOptions { ansi: false, time_zone: Tz::UTC };
const NEW_YEAR: i64 = 1_704_067_200 * SECOND;

fn strings(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn texts(array: &ArrayRef, options: CastOptions) -> Vec<Option<String>> {
    let texts = cast(array, &DataType::Utf8, options).unwrap();
    texts.as_string::<i32>().iter().map(|text| text.map(str::to_string)).collect()
}

#[test]
fn texts_to_instants_and_dates() {
    let array = strings(&["2024-01-01 01:00:00", " 2024-01-01T00:00:00Z ", "x"]);
    let read = |options| cast(&array, &types::timestamp(), options);
    let lenient = read(LENIENT).unwrap();
    let values: Vec<_> = lenient.as_primitive::<TimestampMicrosecondType>().iter().collect();
    assert_eq!(values, [Some(NEW_YEAR + 3600 * SECOND), Some(NEW_YEAR), None]);
    assert_eq!(lenient.data_type(), &types::timestamp());
    let error = read(ANSI).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CastInvalidInput);
    assert_eq!(
        error.message(),
        "The value 'x' of the type \"STRING\" cannot be cast to \"TIMESTAMP\" because it is malformed. Correct the value as \
         per the syntax, or change its target type. Use `try_cast` to tolerate malformed input and return NULL instead."
    );
    let paris = cast(&strings(&["2024-01-01 01:00:00"]), &types::timestamp(), ANSI).unwrap();
    assert_eq!(paris.as_primitive::<TimestampMicrosecondType>().value(0), NEW_YEAR);
    let dates = cast(&strings(&["2024-01-01 anything", "2024"]), &DataType::Date32, ANSI).unwrap();
    assert_eq!(dates.as_primitive::<Date32Type>().values(), &[19_723, 19_723]);
}

#[test]
fn texts_to_numbers_and_booleans() {
    let array = strings(&[" 7 ", "+8", "1.7", "99999999999", "x", ""]);
    let lenient = cast(&array, &DataType::Int32, LENIENT).unwrap();
    assert_eq!(
        lenient.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(),
        [Some(7), Some(8), Some(1), None, None, None]
    );
    for (text, to) in [
        ("1.7", DataType::Int32),
        ("", DataType::Int64),
        ("300", DataType::Int8),
        ("maybe", DataType::Boolean),
        ("1,5", DataType::Float64),
    ] {
        assert_eq!(cast(&strings(&[text]), &to, ANSI).unwrap_err().code(), ErrorCode::CastInvalidInput, "{text}");
    }
    let doubles = cast(&strings(&["1.5d", "1e3", " Infinity", "-inf"]), &DataType::Float64, ANSI).unwrap();
    assert_eq!(doubles.as_primitive::<Float64Type>().values(), &[1.5, 1000.0, f64::INFINITY, f64::NEG_INFINITY]);
    let booleans = cast(&strings(&["T", " yes", "1", "No", "false", "f"]), &DataType::Boolean, ANSI).unwrap();
    let expected = [true, true, true, false, false, false].map(Some);
    assert_eq!(booleans.as_boolean().iter().collect::<Vec<_>>(), expected);
    let decimals = cast(&strings(&["1.005", "1e9"]), &DataType::Decimal128(5, 2), LENIENT).unwrap();
    assert_eq!(decimals.as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>(), [Some(101), None]);
}

#[test]
fn values_to_texts() {
    let instants: ArrayRef = instants(vec![Some(NEW_YEAR), Some(NEW_YEAR + 120_000), None]);
    let expected = ["2024-01-01 01:00:00", "2024-01-01 01:00:00.12"];
    assert_eq!(texts(&instants, ANSI), [Some(expected[0].into()), Some(expected[1].into()), None]);
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![1e7, 0.1]));
    assert_eq!(texts(&doubles, ANSI), [Some("1.0E7".into()), Some("0.1".into())]);
    let binary: ArrayRef = Arc::new(BinaryArray::from(vec![&b"ab"[..], b"\xff"]));
    assert_eq!(texts(&binary, ANSI), [Some("ab".into()), Some("\u{fffd}".into())]);
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "a long enough string to be outside"]));
    assert_eq!(texts(&views, ANSI)[1].as_deref(), Some("a long enough string to be outside"));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]));
    assert_eq!(texts(&lists, ANSI), [Some("[1, null]".into())]);
    let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(2));
    assert_eq!(texts(&nothing, ANSI), [None, None]);
    let views = cast(&doubles, &DataType::Utf8View, ANSI).unwrap();
    assert_eq!(views.as_string_view().value(0), "1.0E7");
}

#[test]
fn instants_and_dates_in_the_session_zone() {
    // 23:30 in UTC is the next day in Paris.
    let late: ArrayRef = instants(vec![Some(NEW_YEAR - 1800 * SECOND)]);
    assert_eq!(cast(&late, &DataType::Date32, ANSI).unwrap().as_primitive::<Date32Type>().value(0), 19_723);
    assert_eq!(cast(&late, &DataType::Date32, LENIENT).unwrap().as_primitive::<Date32Type>().value(0), 19_722);
    let date: ArrayRef = Arc::new(PrimitiveArray::<Date32Type>::from(vec![19_723]));
    let midnight = cast(&date, &types::timestamp(), ANSI).unwrap();
    assert_eq!(midnight.as_primitive::<TimestampMicrosecondType>().value(0), NEW_YEAR - 3600 * SECOND);
    assert_eq!(cast(&date, &DataType::Int32, ANSI).unwrap_err().message(), "cannot cast DATE to INT");
    let before: ArrayRef = instants(vec![Some(-1)]);
    assert_eq!(cast(&before, &DataType::Int64, ANSI).unwrap().as_primitive::<Int64Type>().value(0), -1);
    assert_eq!(cast(&before, &DataType::Float64, ANSI).unwrap().as_primitive::<Float64Type>().value(0), -1e-6);
    let seconds: ArrayRef = Arc::new(Int64Array::from(vec![1_704_067_200]));
    let instant = cast(&seconds, &types::timestamp(), ANSI).unwrap();
    assert_eq!(instant.as_primitive::<TimestampMicrosecondType>().value(0), NEW_YEAR);
}

#[test]
fn numbers_that_do_not_fit() {
    let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(300)]));
    let wrapped = cast(&longs, &DataType::Int8, LENIENT).unwrap();
    assert_eq!(wrapped.as_primitive::<Int8Type>().iter().collect::<Vec<_>>(), [Some(1), None, Some(44)]);
    let error = cast(&longs, &DataType::Int8, ANSI).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CastOverflow);
    assert_eq!(
        error.message(),
        "The value 300 of the type \"BIGINT\" cannot be cast to \"TINYINT\" due to an overflow. Use `try_cast` to tolerate \
         overflow and return NULL instead."
    );
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![1.9, -1.9, 3e9, f64::NAN]));
    let saturated = cast(&doubles, &DataType::Int32, LENIENT).unwrap();
    assert_eq!(saturated.as_primitive::<Int32Type>().values(), &[1, -1, i32::MAX, 0]);
    assert_eq!(cast(&doubles, &DataType::Int32, ANSI).unwrap_err().code(), ErrorCode::CastOverflow);
    let tenth: ArrayRef = Arc::new(Float64Array::from(vec![0.1, 1.005]));
    let decimals = cast(&tenth, &DataType::Decimal128(5, 2), ANSI).unwrap();
    assert_eq!(decimals.as_primitive::<Decimal128Type>().values(), &[10, 101]);
}

#[test]
fn nested_values_cast_inside() {
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1e7)])]));
    let to = types::DataType::Array(Box::new(types::DataType::String)).to_arrow();
    let texts = cast(&lists, &to, ANSI).unwrap();
    assert_eq!(texts.as_list::<i32>().value(0).as_string::<i32>().value(0), "1.0E7");
}
