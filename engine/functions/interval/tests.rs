//! Literals and texts of intervals, as Spark 4.3 answered them.

use super::*;

/// The value and the type's name of a literal, and its text.
fn seen(expr: Result<Expr>) -> (i64, String, String) {
    let Expr::Literal(value, metadata) = expr.unwrap() else { panic!("no literal") };
    let fields = Fields::of_literal(&value, metadata.as_ref()).unwrap();
    let mut text = String::new();
    let number = match value {
        ScalarValue::DurationMicrosecond(Some(micros)) => {
            write_day_time(micros, fields, &mut text);
            micros
        }
        ScalarValue::IntervalYearMonth(Some(months)) => {
            write_year_month(months, fields, &mut text);
            months.into()
        }
        other => panic!("{other}"),
    };
    (number, fields.name(), text)
}

#[test]
fn units_in_words() {
    for (text, value, name, written) in [
        ("1 year", 12, "year", "INTERVAL '1' YEAR"),
        ("14 months", 14, "month", "INTERVAL '14' MONTH"),
        ("1 year 2 months", 14, "year to month", "INTERVAL '1-2' YEAR TO MONTH"),
        ("-1 month", -1, "month", "INTERVAL '-1' MONTH"),
        ("2 weeks", 14 * DAY, "day", "INTERVAL '14' DAY"),
        ("90 minutes", 90 * MINUTE, "minute", "INTERVAL '90' MINUTE"),
        ("2 hours", 2 * HOUR, "hour", "INTERVAL '02' HOUR"),
        ("1 hour 30 minutes", 90 * MINUTE, "hour to minute", "INTERVAL '01:30' HOUR TO MINUTE"),
        ("1 day 2 hours", DAY + 2 * HOUR, "day to hour", "INTERVAL '1 02' DAY TO HOUR"),
        ("1 day 5 seconds", DAY + 5 * SECOND, "day to second", "INTERVAL '1 00:00:05' DAY TO SECOND"),
        ("1.5 seconds", 1_500_000, "second", "INTERVAL '01.5' SECOND"),
        ("5 milliseconds", 5000, "second", "INTERVAL '00.005' SECOND"),
        ("7 microseconds", 7, "second", "INTERVAL '00.000007' SECOND"),
    ] {
        assert_eq!(seen(literal(text)), (value, name.to_string(), written.to_string()), "{text}");
    }
    assert_eq!(literal("1 month 2 days").unwrap_err().code(), ErrorCode::ParseSyntaxError);
    assert_eq!(literal("soon").unwrap_err().code(), ErrorCode::InvalidIntervalFormat);
}

#[test]
fn fields_from_one_to_another() {
    let clock = 2 * HOUR + 3 * MINUTE + 4 * SECOND;
    for (text, fields, value, written) in [
        ("1-2", "year to month", 14, "INTERVAL '1-2' YEAR TO MONTH"),
        ("-1-2", "year to month", -14, "INTERVAL '-1-2' YEAR TO MONTH"),
        ("1 02:03:04", "day to second", DAY + clock, "INTERVAL '1 02:03:04' DAY TO SECOND"),
        ("-1 02:03:04", "day to second", -DAY - clock, "INTERVAL '-1 02:03:04' DAY TO SECOND"),
        ("1 02:03:04.123456", "day to second", DAY + clock + 123_456, "INTERVAL '1 02:03:04.123456' DAY TO SECOND"),
        ("1 02:03", "day to minute", DAY + 123 * MINUTE, "INTERVAL '1 02:03' DAY TO MINUTE"),
        ("1 02", "day to hour", DAY + 2 * HOUR, "INTERVAL '1 02' DAY TO HOUR"),
        ("26:03:04", "hour to second", 24 * HOUR + clock, "INTERVAL '26:03:04' HOUR TO SECOND"),
        ("02:03", "hour to minute", 123 * MINUTE, "INTERVAL '02:03' HOUR TO MINUTE"),
        ("100:04", "minute to second", 100 * MINUTE + 4 * SECOND, "INTERVAL '100:04' MINUTE TO SECOND"),
        ("03:04.5", "minute to second", 184_500_000, "INTERVAL '03:04.5' MINUTE TO SECOND"),
    ] {
        let fields = Fields::parse(fields).unwrap();
        assert_eq!(seen(literal_from_to(text, fields)), (value, fields.name(), written.to_string()), "{text}");
    }
    for (text, fields) in [("1 25:03:04", "day to second"), ("1-12", "year to month"), ("1", "hour to minute")] {
        let refused = literal_from_to(text, Fields::parse(fields).unwrap()).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::ParseSyntaxError, "{text}");
    }
    assert_eq!(Fields::parse("month to day"), None);
    assert_eq!(Fields::parse("second to day"), None);
}

#[test]
fn casts_of_texts() {
    let days = DataType::Duration(TimeUnit::Microsecond);
    let months = DataType::Interval(IntervalUnit::YearMonth);
    let clock = 2 * HOUR + 3 * MINUTE + 4 * SECOND;
    assert_eq!(of_text("1 02:03:04", &days), Some(DAY + clock));
    assert_eq!(of_text("INTERVAL '1 02:03:04' DAY TO SECOND", &days), Some(DAY + clock));
    assert_eq!(of_text("interval -'90' minute", &days), Some(-90 * MINUTE));
    assert_eq!(of_text("1-2", &months), Some(14));
    assert_eq!(of_text("INTERVAL '5' YEAR", &months), Some(60));
    for text in ["", "x", "1", "INTERVAL '5' YEAR", "ééééé"] {
        assert_eq!(of_text(text, &days), None, "{text}");
    }
}

#[test]
fn calendar_intervals_as_text() {
    for (months, days, micros, text) in [
        (14, 25, 5 * HOUR + 6 * MINUTE + 7_500_000, "1 years 2 months 25 days 5 hours 6 minutes 7.5 seconds"),
        (0, 0, 0, "0 seconds"),
        (0, 0, -1_500_000, "-1.5 seconds"),
        (0, 1, 2 * HOUR, "1 days 2 hours"),
    ] {
        let mut out = String::new();
        write_calendar(months, days, micros, &mut out);
        assert_eq!(out, text);
    }
}
