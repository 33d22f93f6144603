"""Functions: a line of SQL each, its value and its type; and the functions of PySpark by their own names."""

import datetime

from pyspark.sql import functions as F

EXPRESSIONS = r"""
abs(-5) | abs(-1.5) | negative(3) | positive(-2) | sign(-2.5) | signum(0) | ceil(1.2) | ceil(-1.25, 1) | floor(-1.2) | round(2.5) | round(-2.5) | round(1.255, 2) | round(125, -1) | bround(2.5) | bround(3.5) | rint(2.5)
sqrt(16) | cbrt(27) | exp(0) | expm1(0) | ln(1) | log(2, 8) | log10(1000) | log2(8) | log1p(0) | pow(2, 10) | power(2.0, 0.5) | hypot(3, 4) | factorial(5) | factorial(21) | mod(7, 3) | mod(-7, 3) | pmod(-7, 3) | 7 DIV 2 | -7 DIV 2 | 7 % -3
sin(0) | cos(0) | tan(0) | asin(1) | acos(1) | atan(1) | atan2(1, 1) | sinh(1) | cosh(1) | tanh(1) | asinh(1) | acosh(1) | atanh(0.5) | cot(1) | csc(1) | sec(1) | degrees(pi()) | radians(180) | e()
greatest(1, NULL, 3) | least(2, 1.5) | width_bucket(5.3, 0.2, 10.6, 5) | bin(13) | hex(255) | hex('Spark') | unhex('537061726B') | conv('ff', 16, 10) | conv('-10', 16, -10) | shiftleft(1, 4) | shiftright(-16, 2) | shiftrightunsigned(-16, 60) | bit_count(7) | getbit(11, 0) | ~5 | 5 & 3 | 5 | 6 ^ 3
try_add(2147483647, 1) | try_divide(1, 0) | try_subtract(1, 2) | try_multiply(2147483647, 2) | try_mod(1, 0) | try_cast('x' AS INT) | try_to_number('1,2', '9,9') | try_element_at(array(1), 5) | try_to_timestamp('x') | try_avg(1) | nullifzero(0) | zeroifnull(NULL)
1 / 2 | 1.0 / 3 | 10 / 4.0 | 1 + 1.5 | CAST(1 AS DECIMAL(5,2)) * CAST(3 AS DECIMAL(5,2)) | CAST(10 AS DECIMAL(10,2)) / CAST(3 AS DECIMAL(10,2)) | 1L + 1 | CAST(1 AS TINYINT) + CAST(1 AS SMALLINT) | 2 * 0.1 | 0.1 + 0.2 | 1e3 * 2 | - CAST(1 AS FLOAT) | 3 = 3.0 | '3' = 3 | '1' + 1
concat('a', 'b', NULL) | concat('a', 1) | concat(array(1), array(2, 3)) | concat_ws('-', 'a', NULL, 'b') | concat_ws(',', array('x', 'y'), 'z') | upper('aé') | lower('ABC') | initcap('hello wORLD') | length('añb') | char_length('abc ') | octet_length('é') | bit_length('é') | reverse('abc') | reverse(array(1, 2))
trim('  a b ') | ltrim('  a') | rtrim('a  ') | btrim('xxaxx', 'x') | trim(BOTH 'x' FROM 'xax') | trim(LEADING 'x' FROM 'xax') | lpad('7', 3, '0') | rpad('7', 3, 'xy') | lpad('abcdef', 3) | repeat('ab', 3) | space(3) | left('abc', 2) | right('abc', 2) | substring('abcdef', 2, 3) | substring('abc', -2) | substr('abc', 0, 2) | substring_index('a.b.c', '.', 2) | substring_index('a.b.c', '.', -1)
instr('abcbc', 'bc') | locate('bc', 'abcbc', 3) | position('c' IN 'abc') | replace('abcabc', 'b', 'X') | replace('abc', 'b') | translate('AaBbCc', 'abc', '123') | overlay('Spark SQL' PLACING '_' FROM 6) | split('a1b2c', '[0-9]') | split('a,b,c', ',', 2) | split_part('a.b.c', '.', 2) | split_part('a.b.c', '.', -1) | ascii('A') | char(65) | chr(233) | base64('Spark') | unbase64('U3Bhcms=') | encode('é', 'UTF-8') | decode(X'C3A9', 'UTF-8') | levenshtein('kitten', 'sitting') | soundex('Miller')
startswith('abc', 'a') | endswith('abc', 'c') | contains('abc', 'b') | 'abc' LIKE 'a_c' | 'a%c' LIKE 'a\%c' | 'ABC' ILIKE 'a%' | 'abc' RLIKE '^a' | regexp('abc', 'b') | regexp_like('abc', '[xy]') | regexp_extract('100-200', '(\\d+)-(\\d+)', 1) | regexp_extract_all('1a 2b', '(\\d)(\\w)', 2) | regexp_replace('a1b22', '\\d+', '#') | regexp_count('a1b22', '\\d') | regexp_instr('ab12', '\\d') | regexp_substr('ab12', '\\d+') | like('a', 'A')
format_number(1234567.891, 2) | format_number(5, '#,###.00') | format_string('%s is %d and %.2f', 'x', 5, 1.5) | printf('%05d', 42) | to_char(1234.5, '9,999.99') | to_number('1,234.5', '9,999.9') | find_in_set('b', 'a,b,c') | elt(2, 'a', 'b') | sentences('Hi there. Bye!') | mask('Ab12-x') | luhn_check('79927398713') | is_valid_utf8('a') | quote('a''b') | collation('a') | randstr(0) | uuid() IS NOT NULL
md5('Spark') | sha1('Spark') | sha2('Spark', 256) | sha2('Spark', 512) | sha2('Spark', 0) | crc32('Spark') | hash('Spark', 1, NULL) | hash(1.5D) | hash(array(1, 2)) | xxhash64('Spark') | xxhash64(1, 1L, 1.5) | xxhash64(NULL) | aes_encrypt('a', '0000111122223333', 'ECB')
current_date() IS NOT NULL | date'2024-02-29' | date_add(date'2024-02-28', 2) | date_sub(date'2024-03-01', 1) | datediff(date'2024-03-01', date'2024-02-01') | add_months(date'2024-01-31', 1) | months_between(date'2024-03-31', date'2024-02-29') | months_between(timestamp'1997-02-28 10:30:00', timestamp'1996-10-30 00:00:00') | last_day(date'2024-02-10') | next_day(date'2024-02-10', 'Mon') | trunc(date'2024-05-17', 'MM') | trunc(date'2024-05-17', 'quarter') | trunc(date'2024-05-17', 'week') | date_trunc('HOUR', timestamp'2024-05-17 10:20:30.5') | date_trunc('week', timestamp'2024-05-17 10:20:30')
year(date'2024-05-17') | quarter(date'2024-05-17') | month(date'2024-05-17') | day(date'2024-05-17') | dayofmonth(date'2024-05-17') | dayofweek(date'2024-05-19') | weekday(date'2024-05-19') | dayofyear(date'2024-12-31') | weekofyear(date'2024-12-30') | hour(timestamp'2024-05-17 10:20:30') | minute(timestamp'2024-05-17 10:20:30') | second(timestamp'2024-05-17 10:20:30.9') | extract(SECOND FROM timestamp'2024-05-17 10:20:30.9') | extract(YEAR FROM date'2024-05-17') | date_part('dow', date'2024-05-19') | dayname(date'2024-05-19') | monthname(date'2024-05-19')
to_date('2024-05-17') | to_date('17/05/2024', 'dd/MM/yyyy') | to_timestamp('2024-05-17 10:20:30') | to_timestamp('2024-05-17T10:20:30.123Z') | to_timestamp('17.05.2024 10', 'dd.MM.yyyy HH') | to_timestamp_ntz('2024-05-17 10:20:30') | date_format(timestamp'2024-05-07 09:08:07.006', 'yyyy-MM-dd HH:mm:ss.SSS') | date_format(date'2024-05-07', 'EEEE, d MMM yy') | date_format(timestamp'2024-05-07 21:08:07', 'h:mm a') | date_format(timestamp'2024-05-07 21:08:07', "yyyyMMdd'T'HHmmssXXX") | unix_timestamp('2024-01-01 00:00:00') | unix_timestamp('01/02/2024', 'dd/MM/yyyy') | from_unixtime(0) | from_unixtime(1704067200, 'yyyy-MM') | unix_seconds(timestamp'2024-01-01 00:00:00') | unix_millis(timestamp'2024-01-01 00:00:00.5') | unix_micros(timestamp'2024-01-01 00:00:00.5') | unix_date(date'1970-01-10') | timestamp_seconds(1.5) | timestamp_millis(1500) | timestamp_micros(1) | date_from_unix_date(10)
make_date(2024, 2, 29) | make_timestamp(2024, 2, 29, 10, 20, 30.5) | make_interval(1, 2, 0, 3) | make_dt_interval(1, 2, 3, 4.5) | make_ym_interval(1, 2) | timestamp'2024-01-31 10:00:00' + INTERVAL 1 MONTH | timestamp'2024-01-01 00:00:00' - INTERVAL '1' DAY | timestamp'2024-01-02 00:00:00' - timestamp'2024-01-01 12:00:00' | date'2024-01-02' - date'2024-01-01' | date'2024-01-31' + INTERVAL 1 MONTH | INTERVAL '1 02:03:04' DAY TO SECOND | INTERVAL 90 MINUTES | from_utc_timestamp(timestamp'2024-07-01 00:00:00', 'America/New_York') | to_utc_timestamp(timestamp'2024-07-01 00:00:00', 'Asia/Tokyo') | convert_timezone('UTC', 'Europe/Berlin', timestamp_ntz'2024-07-01 00:00:00') | timestampadd(HOUR, 5, timestamp'2024-01-01 00:00:00') | timestampdiff(MONTH, date'2024-01-31', date'2024-03-01') | window_time(window(timestamp'2024-01-01 00:00:01', '5 seconds')) | current_timezone()
CAST('1' AS INT) | CAST(' 1 ' AS INT) | CAST(1.9 AS INT) | CAST(-1.9 AS INT) | CAST('1.5' AS DOUBLE) | CAST('NaN' AS DOUBLE) | CAST('inf' AS DOUBLE) | CAST('true' AS BOOLEAN) | CAST('y' AS BOOLEAN) | CAST(0 AS BOOLEAN) | CAST(true AS INT) | CAST('2024-05-17' AS DATE) | CAST('2024-05' AS DATE) | CAST('2024-05-17 10:20' AS TIMESTAMP) | CAST(1.5 AS TIMESTAMP) | CAST(timestamp'2024-01-01 00:00:00.5' AS DOUBLE) | CAST(timestamp'2024-01-01 00:00:00.5' AS LONG) | CAST(date'2024-05-17' AS TIMESTAMP) | CAST('1e3' AS DECIMAL(10,2)) | CAST(1.255 AS DECIMAL(3,2)) | CAST(1.0 AS STRING) | CAST(1.0D AS STRING) | CAST(1e20D AS STRING) | CAST(1e-5D AS STRING) | CAST(123456789.0D AS STRING) | CAST(0.1F AS STRING) | CAST(1.5F AS DOUBLE) | CAST(0.1F AS DOUBLE) | CAST(X'4142' AS STRING) | CAST('AB' AS BINARY) | CAST(array(1, NULL) AS STRING) | CAST(map('a', 1) AS STRING) | CAST(struct(1, 'x', NULL) AS STRING) | CAST(timestamp'2024-01-01 00:00:00.120' AS STRING) | CAST(INTERVAL 90 MINUTES AS STRING) | CAST(NULL AS INT) | CAST('abc' AS VARCHAR(2)) | CAST(300 AS DOUBLE) | string(5) | int('7') | double('1') | date('2024-01-01')
array(1, 2, NULL) | array() | array('a', 1) | array_contains(array(1, 2), 2) | array_contains(array(1, NULL), 2) | array_distinct(array(1, 2, 1, NULL, NULL)) | array_except(array(1, 2, 2), array(2)) | array_intersect(array(1, 2, 2), array(2, 3)) | array_union(array(1, 2), array(2, 3)) | array_join(array('a', NULL, 'b'), ',') | array_join(array('a', NULL), ',', '-') | array_max(array(1, NULL, 3)) | array_min(array(1, NULL, 3)) | array_position(array(3, 2, 1), 1) | array_remove(array(1, 2, 1), 1) | array_repeat('x', 2) | array_sort(array(3, NULL, 1)) | sort_array(array(3, NULL, 1)) | sort_array(array(3, NULL, 1), false) | array_size(array(1)) | size(array(1, 2)) | size(NULL) | cardinality(map('a', 1)) | array_append(array(1), 2) | array_prepend(array(1), 0) | array_insert(array(1, 3), 2, 2) | array_compact(array(1, NULL)) | arrays_overlap(array(1, 2), array(2)) | arrays_zip(array(1, 2), array('a')) | flatten(array(array(1), array(2))) | slice(array(1, 2, 3), 2, 2) | slice(array(1, 2, 3), -2, 2) | sequence(1, 5, 2) | sequence(date'2024-01-01', date'2024-03-01', INTERVAL 1 MONTH) | element_at(array(1, 2), -1) | array(1, 2)[0] | get(array(1), 5) | shuffle(array(1)) | array_agg(1)
transform(array(1, 2), x -> x + 1) | transform(array(1, 2), (x, i) -> x * i) | filter(array(1, 2, 3), x -> x > 1) | exists(array(1, 2), x -> x = 2) | forall(array(1, 2), x -> x > 0) | aggregate(array(1, 2, 3), 0, (a, x) -> a + x) | aggregate(array(1, 2), 0, (a, x) -> a + x, a -> a * 10) | reduce(array(1, 2), 0, (a, x) -> a + x) | zip_with(array(1, 2), array(3, 4), (x, y) -> x + y) | array_sort(array('bb', 'a'), (x, y) -> length(x) - length(y)) | map_filter(map('a', 1, 'b', 2), (k, v) -> v > 1) | transform_keys(map('a', 1), (k, v) -> upper(k)) | transform_values(map('a', 1), (k, v) -> v + 1) | map_zip_with(map('a', 1), map('a', 2), (k, x, y) -> x + y)
map('a', 1, 'b', NULL) | map() | map_keys(map('a', 1)) | map_values(map('a', 1)) | map_entries(map('a', 1)) | map_from_arrays(array('a', 'b'), array(1, 2)) | map_from_entries(array(struct('a', 1))) | map_concat(map('a', 1), map('b', 2)) | map_contains_key(map('a', 1), 'a') | map('a', 1)['a'] | map('a', 1)['z'] | element_at(map('a', 1), 'a') | str_to_map('a:1,b:2') | str_to_map('a=1;b', ';', '=')
struct(1, 'a') | named_struct('x', 1, 'y', 'z') | named_struct('x', 1).x | inline(array(struct(1, 'a'))) | explode(array(1, 2)) | explode(map('a', 1)) | posexplode(array('a', 'b')) | explode_outer(array()) | stack(2, 1, 'a', 2, 'b')
coalesce(NULL, 1, 2) | ifnull(NULL, 1) | nvl(NULL, 'x') | nvl2(NULL, 1, 2) | nullif(1, 1) | if(1 > 2, 'a', 'b') | CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END | CASE WHEN NULL THEN 1 ELSE 2 END | isnull(NULL) | isnotnull(1) | isnan(double('NaN')) | nanvl(double('NaN'), 1) | NULL AND false | NULL OR true | NOT NULL | NULL <=> NULL | 1 <=> NULL | 1 IN (1, NULL) | 2 IN (1, NULL) | 2 BETWEEN 1 AND 3 | double('NaN') = double('NaN') | double('NaN') > 1 | -0.0D = 0.0D | 'a' < 'B' | true > false | typeof(1.5) | typeof(array(1L)) | typeof(NULL) | equal_null(1, NULL) | decode(2, 1, 'a', 2, 'b', 'c')
from_json('{"a": 1, "b": "x"}', 'a INT, b STRING') | from_json('bad', 'a INT') | from_json('', 'a INT') | from_json('[1, 2]', 'ARRAY<INT>') | from_json('{"k": 1}', 'MAP<STRING, INT>') | from_json('{"a": "1"}', 'a INT') | from_json('{"a": 1.7}', 'a INT') | from_json('{"t": "2024-01-01"}', 't TIMESTAMP') | from_json('{"t": "01/02/2024"}', 't DATE', map('dateFormat', 'dd/MM/yyyy')) | to_json(named_struct('a', 1, 'b', NULL)) | to_json(named_struct('d', 1e20D, 'f', 0.1F, 't', timestamp'2024-01-01 00:00:00.5', 'x', date'2024-01-01')) | to_json(array(struct(1, 'x'))) | to_json(map('a', 1)) | get_json_object('{"a": {"b": [1, 2]}}', '$.a.b[1]') | get_json_object('{"a": "x"}', '$.a') | get_json_object('{"a": [{"b": 1}, {"b": 2}]}', '$.a[*].b') | json_tuple('{"a": 1, "b": 2}', 'a', 'b') | json_array_length('[1, 2, 3]') | json_object_keys('{"a": 1, "b": 2}') | schema_of_json('{"a": 1, "b": [1.5]}') | from_csv('1,x', 'a INT, b STRING') | to_csv(struct(1, 'a b', NULL)) | schema_of_csv('1,x')
parse_url('https://u@h.com:80/p/q?a=1#f', 'HOST') | parse_url('https://h.com/p?a=1', 'QUERY', 'a') | url_encode('a b&c') | url_decode('a+b%26c') | ilike('ABC', 'a%') | nullif('a', '') | monotonically_increasing_id() | spark_partition_id() | version() IS NOT NULL | current_user() IS NOT NULL | current_database() | rand(0) < 1 | assert_true(true) | bitmap_bit_position(5) | hll_sketch_estimate(hll_sketch_agg(1)) | parse_json('{"a": 1}') | is_variant_null(parse_json('null')) | variant_get(parse_json('{"a": 1}'), '$.a', 'int') | kll_sketch_to_string_bigint(kll_sketch_agg_bigint(1)) IS NULL | theta_sketch_estimate(theta_sketch_agg(1)) | time'10:20:30' | try_parse_url('x', 'HOST') | xpath_string('<a><b>x</b></a>', 'a/b') | from_xml('<p><a>1</a></p>', 'a INT') | st_asbinary(NULL)
format_number(0.5, '#,###.00') | format_number(-1234.5, '#,##0.00;(#,##0.00)') | format_number(0.256, '0.0%') | format_number(1234.5, '0.###E0') | format_number(1e30D, 2) | format_number(1e30D, '#,##0') | to_char(-1234.5, '9,999.99PR') | to_char(12.5, '0000.000') | to_char(-1, 'MI999') | to_char(12, '9$9') | to_char(date'2024-05-17', 'yyyy/MM/dd') | to_varchar(78.12, '$99.99') | to_number('<12>', '99PR') | to_number('1234', '999') | to_binary('616263') | to_binary('zz', 'hex') | try_to_binary('zz', 'hex')
mask('AbCD123-@$#', 'Q', 'q', 'd', 'o') | mask('a', 'QQ') | to_base32('Spark') | from_base32('KNYGC4TL') | jaro_winkler_similarity('MARTHA', 'MARHTA') | make_valid_utf8(X'61F0808061') | validate_utf8(X'80') | try_validate_utf8(X'80') | hmac('key', 'a') | hmac('key', 'a', 'md5') | hmac('key', 'a', 'foo') | try_parse_url('http://[bad', 'HOST') | parse_url('a b', 'HOST') | collate('a', 'UTF8_BINARY') | current_catalog() | current_schema() | user() = current_user() | session_user() IS NOT NULL
make_timestamp_ntz(2024, 5, 17, 10, 20, 30.5) | make_timestamp_ltz(2024, 5, 17, 10, 20, 30.5, 'Europe/Berlin') | try_make_timestamp_ntz(2024, 13, 17, 10, 20, 30.5) | make_timestamp(2024, 1, 17, 10, 20, 60.5) | time_bucket(INTERVAL 5 MINUTES, timestamp'2024-01-01 00:07:00') | time_bucket(INTERVAL 3 MONTHS, timestamp'2024-05-15 10:00:00') | make_dt_interval() | make_dt_interval(106751992) | try_make_interval(2147483647, 12) IS NULL | timestamp'2024-01-31 00:00:00' + make_interval(0, 1, 0, 1, 1)
bitmap_bucket_number(32769) | bitmap_count(X'FF01') | bitmap_count(bitmap_construct_agg(1)) | bitmap_construct_agg(32768) | length(bitmap_or_agg(X'01')) | collect_union(array(1, 2)) | vector_norm(array(3F, 4F)) | vector_normalize(array(3F, 4F)) | vector_inner_product(array(1F, 2F), array(3F)) | vector_cosine_similarity(array(1F, 2F), array(3F, 4F)) | vector_l2_distance(array(1F, 2F), array(3F, 4F)) | randstr(5, 0) | uniform(0, 10, 0) | uniform(1.5, 2.25, 0) | shuffle(array(1, 2, 3, 4, 5, 6, 7), 5) | schema_of_csv('1|x', map('sep', '|')) | schema_of_csv('12345678901,1e10,NaN,2024-01-01')
"""


def run(spark, check, work_dir):
    for line in EXPRESSIONS.strip().splitlines():
        for expression in line.split(" | "):
            if expression.strip():
                check(expression, lambda: value(spark, expression))

    names = sorted(name for name in F.__all__ if name.islower() and name not in ("udf", "pandas_udf", "udtf", "arrow_udf", "arrow_udtf", "broadcast", "col", "column", "lit", "expr", "asc", "desc"))

    def known(name):
        try:
            spark.sql(f"SELECT {name}()").schema
        except Exception as problem:
            return problem.getCondition() not in ("UNRESOLVED_ROUTINE", "UNRESOLVABLE_TABLE_VALUED_FUNCTION")
        return True

    for name in names:
        check(f"{name} is a function", lambda: known(name))

    df = spark.createDataFrame([(1, "ab cd", 2.5, datetime.datetime(2024, 5, 17, 10, 20, 30), [3, 1], {"k": 1})], "n INT, s STRING, d DOUBLE, t TIMESTAMP, a ARRAY<INT>, m MAP<STRING, INT>")
    calls = {
        "split and element": lambda: F.split("s", " ")[0],
        "concat_ws": lambda: F.concat_ws("/", "s", F.lit("x")),
        "format_string": lambda: F.format_string("%s-%d", "s", "n"),
        "regexp_extract": lambda: F.regexp_extract("s", r"(\w+) (\w+)", 2),
        "regexp_replace": lambda: F.regexp_replace("s", r"\s", "_"),
        "substring": lambda: F.substring("s", 2, 3),
        "lpad": lambda: F.lpad("s", 8, "*"),
        "date_format": lambda: F.date_format("t", "yyyy/MM/dd HH"),
        "date_trunc": lambda: F.date_trunc("hour", "t"),
        "to_date": lambda: F.to_date(F.lit("17.05.2024"), "dd.MM.yyyy"),
        "to_timestamp": lambda: F.to_timestamp(F.lit("2024-05-17 10")),
        "unix_timestamp": lambda: F.unix_timestamp("t"),
        "from_unixtime": lambda: F.from_unixtime(F.lit(0)),
        "date_add": lambda: F.date_add("t", 3),
        "expr": lambda: F.expr("n + 1"),
        "expr of an interval": lambda: F.col("t") + F.expr("INTERVAL 2 HOURS"),
        "when": lambda: F.when(F.col("n") == 1, "one").when(F.col("n") == 2, "two"),
        "coalesce": lambda: F.coalesce(F.lit(None), F.col("n")),
        "array functions": lambda: F.struct(F.array_contains("a", 3), F.sort_array("a"), F.size("a"), F.element_at("a", 1), F.array_max("a")),
        "higher-order functions": lambda: F.struct(F.transform("a", lambda x: x * 2), F.filter("a", lambda x: x > 1), F.aggregate("a", F.lit(0), lambda acc, x: acc + x), F.exists("a", lambda x: x == 3)),
        "map functions": lambda: F.struct(F.map_keys("m"), F.map_values("m"), F.create_map(F.lit("z"), "n")),
        "struct and getField": lambda: F.struct("n", "s").getField("s"),
        "to_json": lambda: F.to_json(F.struct("*")),
        "to_json with options": lambda: F.to_json(F.struct("t", F.lit(None).alias("x")), {"ignoreNullFields": "false", "timestampFormat": "yyyy"}),
        "from_json": lambda: F.from_json(F.lit('{"x": 1, "y": [true]}'), "x INT, y ARRAY<BOOLEAN>"),
        "get_json_object": lambda: F.get_json_object(F.lit('{"x": {"y": 5}}'), "$.x.y"),
        "literals": lambda: F.struct(F.lit(1), F.lit(2**40), F.lit(1.5), F.lit("x"), F.lit(True), F.lit(None), F.lit(datetime.date(2024, 1, 1)), F.lit(datetime.datetime(2024, 1, 1)), F.lit([1, 2]), F.lit(b"x"), F.lit(datetime.timedelta(hours=1))),
        "cast": lambda: F.struct(F.col("n").cast("string"), F.col("d").cast("int"), F.col("s").try_cast("int"), F.col("t").cast("date")),
        "hash": lambda: F.struct(F.hash("n", "s"), F.xxhash64("s"), F.md5("s"), F.sha2("s", 256), F.crc32("s")),
        "round": lambda: F.struct(F.round("d"), F.bround("d"), F.ceil("d"), F.floor("d"), F.round("d", 1)),
        "greatest": lambda: F.greatest("n", "d"),
        "isin": lambda: F.col("s").isin("ab cd", "x"),
        "between": lambda: F.col("n").between(0, 2),
        "window": lambda: F.window("t", "5 minutes", "1 minute", "30 seconds"),
        "call_function": lambda: F.call_function("upper", "s"),
        "explode": lambda: F.explode("a"),
        "posexplode": lambda: F.posexplode("a").alias("p", "v"),
        "rand": lambda: F.rand(1) < 1,
        "overlay": lambda: F.overlay("s", F.lit("X"), 1, 2),
        "sequence": lambda: F.sequence(F.lit(1), F.lit(3)),
        "levenshtein": lambda: F.levenshtein("s", F.lit("ab")),
        "nested json schema": lambda: F.schema_of_json(F.lit('{"a": 1}')),
    }
    for name, call in calls.items():
        check(f"F: {name}", lambda: df.select(call()))


def value(spark, expression):
    frame = spark.sql(f"SELECT {expression} AS r" if not expression.startswith(("inline", "explode", "posexplode", "stack", "json_tuple")) else f"SELECT {expression}")
    return [frame.schema.simpleString(), [list(row) for row in frame.collect()]]
