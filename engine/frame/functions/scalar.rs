//! Spark's scalar functions.
//!
//! Comes in: columns or column names, and constants. Goes out: [`Column`]s. Everything that has no function here is reached by
//! [`call_function`].

use crate::error::Result;
use crate::frame::column::{Column, IntoColumn, Operand};
use crate::functions::registry::FunctionRegistry;
use datafusion::logical_expr::Expr;

/// A call of a function by its name: one of Spark's, or one that [`Session::udf`](crate::Session::udf) has registered. A name that no
/// function has is reported by the frame that reads the column.
///
/// ```
/// use tidemill::prelude::*;
/// let code = call_function("soundex", [col("name")]);
/// # let _ = code;
/// ```
pub fn call_function<C: IntoColumn>(name: &str, arguments: impl IntoIterator<Item = C>) -> Column {
    let arguments: Result<Vec<Expr>> = arguments.into_iter().map(|a| a.into_column().0).collect();
    Column(arguments.map(|arguments| crate::sql::text::call(name, arguments)))
}

fn call(name: &str, arguments: Vec<Column>) -> Column {
    let arguments: Result<Vec<Expr>> = arguments.into_iter().map(|argument| argument.0).collect();
    Column(arguments.and_then(|arguments| FunctionRegistry::default().call(name, arguments, false)))
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ident),*) => $spark:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name($($argument: impl $kind),*) -> Column {
            call($spark, vec![$(functions!(@$kind $argument)),*])
        }
    )*};
    (@IntoColumn $argument:ident) => { $argument.into_column() };
    (@Operand $argument:ident) => { $argument.operand() };
}

macro_rules! variadic {
    ($($(#[$doc:meta])* $name:ident => $spark:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name<C: IntoColumn>(columns: impl IntoIterator<Item = C>) -> Column {
            call($spark, columns.into_iter().map(IntoColumn::into_column).collect())
        }
    )*};
}

functions! {
    /// Absolute value.
    abs(column: IntoColumn) => "abs";
    /// The least integer not below the number.
    ceil(column: IntoColumn) => "ceil";
    /// The greatest integer not above the number.
    floor(column: IntoColumn) => "floor";
    /// Square root.
    sqrt(column: IntoColumn) => "sqrt";
    /// Cube root.
    cbrt(column: IntoColumn) => "cbrt";
    /// e to the power of the number.
    exp(column: IntoColumn) => "exp";
    /// Natural logarithm; NULL of what has none.
    ln(column: IntoColumn) => "ln";
    /// Logarithm to the base 10.
    log10(column: IntoColumn) => "log10";
    /// Logarithm to the base 2.
    log2(column: IntoColumn) => "log2";
    /// Natural logarithm of one more.
    log1p(column: IntoColumn) => "log1p";
    /// -1.0, 0.0 or 1.0 by the sign.
    signum(column: IntoColumn) => "signum";
    /// The nearest whole double, a half to the even one.
    rint(column: IntoColumn) => "rint";
    /// Sine.
    sin(column: IntoColumn) => "sin";
    /// Cosine.
    cos(column: IntoColumn) => "cos";
    /// Tangent.
    tan(column: IntoColumn) => "tan";
    /// Arc sine.
    asin(column: IntoColumn) => "asin";
    /// Arc cosine.
    acos(column: IntoColumn) => "acos";
    /// Arc tangent.
    atan(column: IntoColumn) => "atan";
    /// Hyperbolic sine.
    sinh(column: IntoColumn) => "sinh";
    /// Hyperbolic cosine.
    cosh(column: IntoColumn) => "cosh";
    /// Hyperbolic tangent.
    tanh(column: IntoColumn) => "tanh";
    /// Radians to degrees.
    degrees(column: IntoColumn) => "degrees";
    /// Degrees to radians.
    radians(column: IntoColumn) => "radians";
    /// Factorial of 0 to 20.
    factorial(column: IntoColumn) => "factorial";
    /// Number of bits that are set.
    bit_count(column: IntoColumn) => "bit_count";
    /// Whether a double is NaN.
    isnan(column: IntoColumn) => "isnan";
    /// The text in lower case.
    lower(column: IntoColumn) => "lower";
    /// The text in upper case.
    upper(column: IntoColumn) => "upper";
    /// The first letter of every word in upper case.
    initcap(column: IntoColumn) => "initcap";
    /// Number of characters, or of bytes of a BINARY.
    length(column: IntoColumn) => "length";
    /// Number of bytes.
    octet_length(column: IntoColumn) => "octet_length";
    /// The text without blanks around it.
    trim(column: IntoColumn) => "trim";
    /// The text without blanks before it.
    ltrim(column: IntoColumn) => "ltrim";
    /// The text without blanks after it.
    rtrim(column: IntoColumn) => "rtrim";
    /// A text or an array from its end.
    reverse(column: IntoColumn) => "reverse";
    /// Code of the first character.
    ascii(column: IntoColumn) => "ascii";
    /// Bytes as base64 text.
    base64(column: IntoColumn) => "base64";
    /// Bytes of a base64 text.
    unbase64(column: IntoColumn) => "unbase64";
    /// Hexadecimal digits.
    hex(column: IntoColumn) => "hex";
    /// Bytes of hexadecimal digits.
    unhex(column: IntoColumn) => "unhex";
    /// MD5 digest in hexadecimal digits.
    md5(column: IntoColumn) => "md5";
    /// SHA-1 digest in hexadecimal digits.
    sha1(column: IntoColumn) => "sha1";
    /// CRC-32 checksum.
    crc32(column: IntoColumn) => "crc32";
    /// Soundex code.
    soundex(column: IntoColumn) => "soundex";
    /// The text for a URL.
    url_encode(column: IntoColumn) => "url_encode";
    /// The text of a URL's part.
    url_decode(column: IntoColumn) => "url_decode";
    /// The date of a timestamp in the session's time zone, or of a text.
    to_date(column: IntoColumn) => "to_date";
    /// The instant of a text in the session's time zone.
    to_timestamp(column: IntoColumn) => "to_timestamp";
    /// The instant of a text, NULL if it is none.
    try_to_timestamp(column: IntoColumn) => "try_to_timestamp";
    /// Year.
    year(column: IntoColumn) => "year";
    /// Quarter, 1 to 4.
    quarter(column: IntoColumn) => "quarter";
    /// Month, 1 to 12.
    month(column: IntoColumn) => "month";
    /// Day of the month.
    dayofmonth(column: IntoColumn) => "dayofmonth";
    /// Day of the week, 1 for Sunday.
    dayofweek(column: IntoColumn) => "dayofweek";
    /// Day of the week, 0 for Monday.
    weekday(column: IntoColumn) => "weekday";
    /// Day of the year.
    dayofyear(column: IntoColumn) => "dayofyear";
    /// ISO week of the year.
    weekofyear(column: IntoColumn) => "weekofyear";
    /// The hour (0 to 23) of a timestamp in the session's time zone.
    hour(column: IntoColumn) => "hour";
    /// Minute.
    minute(column: IntoColumn) => "minute";
    /// Second.
    second(column: IntoColumn) => "second";
    /// Last day of the month.
    last_day(column: IntoColumn) => "last_day";
    /// Seconds since the epoch.
    unix_seconds(column: IntoColumn) => "unix_seconds";
    /// Milliseconds since the epoch.
    unix_millis(column: IntoColumn) => "unix_millis";
    /// Microseconds since the epoch.
    unix_micros(column: IntoColumn) => "unix_micros";
    /// Days since the epoch.
    unix_date(column: IntoColumn) => "unix_date";
    /// Seconds since the epoch of a time or a text.
    unix_timestamp(column: IntoColumn) => "unix_timestamp";
    /// The instant so many seconds after the epoch.
    timestamp_seconds(column: IntoColumn) => "timestamp_seconds";
    /// The instant so many milliseconds after the epoch.
    timestamp_millis(column: IntoColumn) => "timestamp_millis";
    /// The instant so many microseconds after the epoch.
    timestamp_micros(column: IntoColumn) => "timestamp_micros";
    /// Seconds since the epoch as text in the session's zone.
    from_unixtime(column: IntoColumn) => "from_unixtime";
    /// The last instant of a window, an event time as the window is.
    window_time(column: IntoColumn) => "window_time";
    /// Number of elements or entries; NULL of NULL.
    size(column: IntoColumn) => "size";
    /// The array without repetitions.
    array_distinct(column: IntoColumn) => "array_distinct";
    /// Greatest element.
    array_max(column: IntoColumn) => "array_max";
    /// Least element.
    array_min(column: IntoColumn) => "array_min";
    /// The array in ascending order, NULL last.
    array_sort(column: IntoColumn) => "array_sort";
    /// The array without NULL.
    array_compact(column: IntoColumn) => "array_compact";
    /// An array of arrays as one array.
    flatten(column: IntoColumn) => "flatten";
    /// Keys of a map.
    map_keys(column: IntoColumn) => "map_keys";
    /// Values of a map.
    map_values(column: IntoColumn) => "map_values";
    /// Entries of a map as structs.
    map_entries(column: IntoColumn) => "map_entries";
    /// A map of an array of pairs.
    map_from_entries(column: IntoColumn) => "map_from_entries";
    /// Number of elements of a JSON array.
    json_array_length(column: IntoColumn) => "json_array_length";
    /// Keys of a JSON object.
    json_object_keys(column: IntoColumn) => "json_object_keys";
    /// Whether the value is NULL.
    isnull(column: IntoColumn) => "isnull";
    /// Whether the value is not NULL.
    isnotnull(column: IntoColumn) => "isnotnull";
    /// A row for each element of an array or entry of a map.
    explode(column: IntoColumn) => "explode";
    /// As [`explode`], and a row of NULL where there is nothing.
    explode_outer(column: IntoColumn) => "explode_outer";
    /// As [`explode`], with the position.
    posexplode(column: IntoColumn) => "posexplode";
    /// As [`posexplode`], and a row of NULL where there is nothing.
    posexplode_outer(column: IntoColumn) => "posexplode_outer";
    /// A row for each struct of an array.
    inline(column: IntoColumn) => "inline";
    /// As [`inline`], and a row of NULL where there is nothing.
    inline_outer(column: IntoColumn) => "inline_outer";
    /// The second value where the first is NULL.
    nvl(left: IntoColumn, right: IntoColumn) => "nvl";
    /// The second value where the first is NULL.
    ifnull(left: IntoColumn, right: IntoColumn) => "ifnull";
    /// NULL where both are equal, the first otherwise.
    nullif(left: IntoColumn, right: IntoColumn) => "nullif";
    /// The second value where the first is NaN.
    nanvl(left: IntoColumn, right: IntoColumn) => "nanvl";
    /// A number to the power of another.
    pow(left: IntoColumn, right: IntoColumn) => "pow";
    /// Angle of a point.
    atan2(left: IntoColumn, right: IntoColumn) => "atan2";
    /// Length of a hypotenuse.
    hypot(left: IntoColumn, right: IntoColumn) => "hypot";
    /// Remainder that is not negative.
    pmod(left: IntoColumn, right: IntoColumn) => "pmod";
    /// Sum, NULL where it overflows.
    try_add(left: IntoColumn, right: IntoColumn) => "try_add";
    /// Difference, NULL where it overflows.
    try_subtract(left: IntoColumn, right: IntoColumn) => "try_subtract";
    /// Product, NULL where it overflows.
    try_multiply(left: IntoColumn, right: IntoColumn) => "try_multiply";
    /// Quotient, NULL of a division by zero.
    try_divide(left: IntoColumn, right: IntoColumn) => "try_divide";
    /// Edits that make one text the other.
    levenshtein(left: IntoColumn, right: IntoColumn) => "levenshtein";
    /// Days from the second date to the first.
    datediff(left: IntoColumn, right: IntoColumn) => "datediff";
    /// Months from the second time to the first.
    months_between(left: IntoColumn, right: IntoColumn) => "months_between";
    /// Elements of either array, once each.
    array_union(left: IntoColumn, right: IntoColumn) => "array_union";
    /// Elements of both arrays, once each.
    array_intersect(left: IntoColumn, right: IntoColumn) => "array_intersect";
    /// Elements of the first array that the second lacks.
    array_except(left: IntoColumn, right: IntoColumn) => "array_except";
    /// Whether the arrays have an element in common.
    arrays_overlap(left: IntoColumn, right: IntoColumn) => "arrays_overlap";
    /// A map of keys and values.
    map_from_arrays(left: IntoColumn, right: IntoColumn) => "map_from_arrays";
    /// An element from 1, or from -1 at the end; the value of a map's key.
    element_at(column: IntoColumn, key: Operand) => "element_at";
    /// An element from 0; NULL outside of the array.
    get(column: IntoColumn, index: Operand) => "get";
    /// Whether the array has the value.
    array_contains(column: IntoColumn, value: Operand) => "array_contains";
    /// Position of the value from 1; 0 if it is not there.
    array_position(column: IntoColumn, value: Operand) => "array_position";
    /// The array without the value.
    array_remove(column: IntoColumn, value: Operand) => "array_remove";
    /// The array with the value at its end.
    array_append(column: IntoColumn, value: Operand) => "array_append";
    /// The array with the value at its front.
    array_prepend(column: IntoColumn, value: Operand) => "array_prepend";
    /// An array of the value so many times.
    array_repeat(column: IntoColumn, count: Operand) => "array_repeat";
    /// Whether the map has the key.
    map_contains_key(column: IntoColumn, key: Operand) => "map_contains_key";
    /// A date so many days later.
    date_add(column: IntoColumn, days: Operand) => "date_add";
    /// A date so many days earlier.
    date_sub(column: IntoColumn, days: Operand) => "date_sub";
    /// A date so many months later.
    add_months(column: IntoColumn, months: Operand) => "add_months";
    /// A time as text, by Spark's pattern letters.
    date_format(column: IntoColumn, pattern: Operand) => "date_format";
    /// A date cut to its year, quarter, month or week.
    trunc(column: IntoColumn, unit: Operand) => "trunc";
    /// The next such day of the week after a date.
    next_day(column: IntoColumn, day: Operand) => "next_day";
    /// An instant of UTC as local time of a zone.
    from_utc_timestamp(column: IntoColumn, zone: Operand) => "from_utc_timestamp";
    /// A local time of a zone as instant of UTC.
    to_utc_timestamp(column: IntoColumn, zone: Operand) => "to_utc_timestamp";
    /// The text so many times.
    repeat(column: IntoColumn, count: Operand) => "repeat";
    /// Position of a part from 1; 0 if it is not there.
    instr(column: IntoColumn, part: Operand) => "instr";
    /// Parts of a text between matches of a regular expression.
    split(column: IntoColumn, pattern: Operand) => "split";
    /// SHA-2 digest of 224, 256, 384 or 512 bits.
    sha2(column: IntoColumn, bits: Operand) => "sha2";
    /// The number with so many decimal places, a half away from zero.
    round(column: IntoColumn, places: Operand) => "round";
    /// The number with so many decimal places, a half to the even one.
    bround(column: IntoColumn, places: Operand) => "bround";
    /// The integer shifted to the left.
    shiftleft(column: IntoColumn, bits: Operand) => "shiftleft";
    /// The integer shifted to the right, keeping its sign.
    shiftright(column: IntoColumn, bits: Operand) => "shiftright";
    /// The integer shifted to the right, without its sign.
    shiftrightunsigned(column: IntoColumn, bits: Operand) => "shiftrightunsigned";
    /// The text at a path of a JSON text.
    get_json_object(column: IntoColumn, path: Operand) => "get_json_object";
    /// The number with separators, and so many decimal places.
    format_number(column: IntoColumn, places: Operand) => "format_number";
    /// The first characters.
    left(column: IntoColumn, length: Operand) => "left";
    /// The last characters.
    right(column: IntoColumn, length: Operand) => "right";
    /// Bytes of a text in a character set.
    encode(column: IntoColumn, charset: Operand) => "encode";
    /// Text of bytes in a character set.
    decode(column: IntoColumn, charset: Operand) => "decode";
    /// Whether a regular expression matches some part of the text.
    rlike(column: IntoColumn, pattern: Operand) => "rlike";
    /// The text filled up on the left.
    lpad(column: IntoColumn, length: Operand, padding: Operand) => "lpad";
    /// The text filled up on the right.
    rpad(column: IntoColumn, length: Operand, padding: Operand) => "rpad";
    /// Characters from a position on; the first is 1, and -1 the last.
    substring(column: IntoColumn, position: Operand, length: Operand) => "substring";
    /// What comes before the so manyth delimiter.
    substring_index(column: IntoColumn, delimiter: Operand, count: Operand) => "substring_index";
    /// The text with every `search` replaced.
    replace(column: IntoColumn, search: Operand, replacement: Operand) => "replace";
    /// The text with single characters replaced.
    translate(column: IntoColumn, from: Operand, to: Operand) => "translate";
    /// A part of a text, counted from 1, or from -1 at the end.
    split_part(column: IntoColumn, delimiter: Operand, part: Operand) => "split_part";
    /// What a group of a regular expression matches.
    regexp_extract(column: IntoColumn, pattern: Operand, group: Operand) => "regexp_extract";
    /// What a group matches, everywhere.
    regexp_extract_all(column: IntoColumn, pattern: Operand, group: Operand) => "regexp_extract_all";
    /// The text with every match replaced.
    regexp_replace(column: IntoColumn, pattern: Operand, replacement: Operand) => "regexp_replace";
    /// Elements from a position on; the first is 1.
    slice(column: IntoColumn, start: Operand, length: Operand) => "slice";
    /// A number's text in another base.
    conv(column: IntoColumn, from: Operand, to: Operand) => "conv";
    /// The date of a text by a pattern.
    to_date_with(column: IntoColumn, pattern: Operand) => "to_date";
    /// The instant of a text by a pattern.
    to_timestamp_with(column: IntoColumn, pattern: Operand) => "to_timestamp";
    /// Seconds since the epoch of a text by a pattern.
    unix_timestamp_with(column: IntoColumn, pattern: Operand) => "unix_timestamp";
    /// Seconds since the epoch as text by a pattern.
    from_unixtime_with(column: IntoColumn, pattern: Operand) => "from_unixtime";
    /// A time cut to a unit: `date_trunc("hour", "event_time")`.
    date_trunc(unit: Operand, column: IntoColumn) => "date_trunc";
    /// A field of a time: `date_part("YEAR", "event_time")`.
    date_part(field: Operand, column: IntoColumn) => "date_part";
    /// Position of a part from 1; 0 if it is not there.
    locate(part: Operand, column: IntoColumn) => "locate";
    /// Elements of an array as one text; NULL is left out.
    array_join(column: IntoColumn, separator: Operand) => "array_join";
    /// The array in order, NULL as the least element.
    sort_array(column: IntoColumn, ascending: Operand) => "sort_array";
    /// Numbers or times from the first to the second, both included.
    sequence(first: IntoColumn, last: IntoColumn) => "sequence";
    /// The second value where the first is not NULL, and the third where it is.
    nvl2(tested: IntoColumn, given: IntoColumn, null: IntoColumn) => "nvl2";
    /// A date of a year, a month and a day.
    make_date(year: IntoColumn, month: IntoColumn, day: IntoColumn) => "make_date";
    /// The batch's time: the same at every place and on a replay.
    current_timestamp() => "current_timestamp";
    /// The batch's date in the session's time zone.
    current_date() => "current_date";
    /// Ends the query with a message where it is evaluated.
    raise_error(message: Operand) => "raise_error";
    /// NULL where the condition holds; ends the query where it does not.
    assert_true(condition: IntoColumn) => "assert_true";
}

variadic! {
    /// The first of the columns that is not NULL.
    coalesce => "coalesce";
    /// Greatest of the values that are not NULL.
    greatest => "greatest";
    /// Least of the values that are not NULL.
    least => "least";
    /// Texts, or arrays, one after the other; NULL if one is.
    concat => "concat";
    /// An array of the values.
    array => "array";
    /// A map of keys and values in turn.
    create_map => "map";
    /// Murmur3 hash of the values, seed 42.
    hash => "hash";
    /// xxHash64 of the values, seed 42.
    xxhash64 => "xxhash64";
    /// Arrays as one array of structs.
    arrays_zip => "arrays_zip";
    /// One map of several.
    map_concat => "map_concat";
}

/// Texts with a separator between them; NULL is left out.
pub fn concat_ws<C: IntoColumn>(separator: &str, columns: impl IntoIterator<Item = C>) -> Column {
    let columns = columns.into_iter().map(IntoColumn::into_column);
    call("concat_ws", [separator.operand()].into_iter().chain(columns).collect())
}

/// A text of values, by Java's format letters: `format_string("%s: %d", ["city", "rides"])`.
pub fn format_string<C: IntoColumn>(format: &str, columns: impl IntoIterator<Item = C>) -> Column {
    let columns = columns.into_iter().map(IntoColumn::into_column);
    call("format_string", [format.operand()].into_iter().chain(columns).collect())
}
