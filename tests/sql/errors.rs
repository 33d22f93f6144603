//! Mistakes: where they are reported, what they say, and the exit status.

use crate::support::{run, stderr, stdout, with_script};

/// The status and the text on standard error of a script.
fn outcome(text: &str) -> (Option<i32>, String) {
    let directory = with_script(text);
    // A path that is not there is a mistake of its own.
    for path in ["in", "rides"] {
        std::fs::create_dir(directory.path().join(path)).unwrap();
    }
    let output = run(directory.path(), &["run", "script.sql"]);
    assert_eq!(stdout(&output), "");
    (output.status.code(), stderr(&output))
}

fn check(text: &str, expected: &str) {
    assert_eq!(outcome(text), (Some(2), expected.to_string()));
}

#[test]
fn a_path_that_there_is_not() {
    let (status, text) = outcome("CREATE TABLE t (a INT) USING json LOCATION 'lost';\nSELECT * FROM t");
    assert_eq!(status, Some(2));
    assert!(text.starts_with("script.sql:2:15: [PATH_NOT_FOUND] "), "{text}");
}

#[test]
fn generators_with_the_wrong_names() {
    check(
        "SELECT id,\n  explode(map('a', 1)) AS (k) FROM range(1)",
        "script.sql:2:3: [INVALID_EXPRESSION] the generator makes 2 columns (key, value), but is given 1 names (k); name each column, or none\n  explode(map('a', 1)) AS (k) FROM range(1)\n  ^\n",
    );
    let (status, text) = outcome("SELECT * FROM range(1) LATERAL VIEW upper('a') t AS k");
    assert_eq!(status, Some(2));
    assert!(text.starts_with("script.sql:1:37: [INVALID_EXPRESSION] "), "{text}");
}

#[test]
fn a_column_that_there_is_not() {
    check(
        "CREATE TABLE rides (city STRING, fare DOUBLE) USING json LOCATION 'rides';\n\n  SELECT city,\n\tfair + 1 FROM rides;",
        "script.sql:4:2: [UNRESOLVED_COLUMN.WITH_SUGGESTION] there is no column or struct field named \"fair\"; did you mean one of [`fare`, `city`]?\n\tfair + 1 FROM rides;\n\t^\n",
    );
}

#[test]
fn a_table_that_there_is_not() {
    check(
        "CREATE TABLE rides (city STRING) USING json LOCATION 'rides';\nINSERT INTO ridez SELECT * FROM rides",
        "script.sql:2:13: [TABLE_OR_VIEW_NOT_FOUND] there is no table or view named `ridez`; did you mean `rides`?\nINSERT INTO ridez SELECT * FROM rides\n            ^\n",
    );
}

#[test]
fn a_name_that_is_taken() {
    check(
        "CREATE VIEW v AS SELECT id FROM range(1);\nCREATE VIEW V AS SELECT id FROM range(1);",
        "script.sql:2:13: [TABLE_OR_VIEW_ALREADY_EXISTS] there is a table or view named `V` already; write CREATE OR REPLACE, or choose another name\nCREATE VIEW V AS SELECT id FROM range(1);\n            ^\n",
    );
}

#[test]
fn options_that_are_misspelt() {
    check(
        "CREATE TABLE t (a INT) USING json LOCATION 'in'\n  OPTIONS (maxFilePerTrigger 1);\nSELECT * FROM t",
        "script.sql:2:12: [INVALID_OPTION] 'maxFilePerTrigger' is not an option of the json source; did you mean 'maxFilesPerTrigger'?\n  OPTIONS (maxFilePerTrigger 1);\n           ^\n",
    );
    check(
        "CREATE TABLE t (a TIMESTAMP) USING json LOCATION 'in' OPTIONS ('watermrk.column' 'a');\nSELECT * FROM t",
        "script.sql:1:64: [INVALID_OPTION] 'watermrk.column' is not an option of the table t; did you mean 'watermark.column'?\nCREATE TABLE t (a TIMESTAMP) USING json LOCATION 'in' OPTIONS ('watermrk.column' 'a');\n                                                               ^\n",
    );
    check(
        "CREATE TABLE t USING rate;\nCREATE TABLE out USING console OPTIONS (trigger 'sometimes');\nINSERT INTO out SELECT * FROM t",
        "script.sql:2:41: [INVALID_OPTION] the trigger 'sometimes' is not one; write 'availableNow', 'once', an interval such as '10 seconds', or 'continuous 1 second'\nCREATE TABLE out USING console OPTIONS (trigger 'sometimes');\n                                        ^\n",
    );
}

#[test]
fn a_format_that_there_is_not() {
    let (status, text) = outcome("CREATE TABLE t (a INT)\nUSING orcc LOCATION 'in';\nSELECT * FROM t");
    assert_eq!(status, Some(2));
    assert!(text.starts_with("script.sql:2:7: [DATA_SOURCE_NOT_FOUND] "), "{text}");
    assert!(text.ends_with("\nUSING orcc LOCATION 'in';\n      ^\n"), "{text}");
}

#[test]
fn text_that_is_no_sql() {
    let places = [
        ("SELEC 1", "script.sql:1:1: [PARSE_SYNTAX_ERROR] SELEC does not begin a statement here; "),
        ("SET a = 1;\nSELECT 'open", "script.sql:2:8: [PARSE_SYNTAX_ERROR] "),
        ("SELECT a FROM (SELECT b", "script.sql:1:24: [PARSE_SYNTAX_ERROR] "),
        ("CREATE TABLE t (a INT, b NUMBERS) USING json", "script.sql:1:26: [PARSE_SYNTAX_ERROR] expected a type name"),
        ("CREATE TABLE t (\n  a INT -- one\n  b INT) USING json", "script.sql:3:3: [PARSE_SYNTAX_ERROR] "),
        ("CREATE TABLE t (a INT) LOCATION 'in'", "script.sql:1:14: [PARSE_SYNTAX_ERROR] the table t has no format"),
        (
            "CREATE TABLE t USING rate OPTIONS (a 1, A 2)",
            "script.sql:1:41: [INVALID_OPTION] the option 'A' stands there twice",
        ),
        (
            "CREATE TABLE t USING json AS SELECT 1",
            "script.sql:1:27: [UNSUPPORTED_STREAMING_OPERATION] CREATE TABLE ... AS SELECT",
        ),
        ("DELETE FROM t", "script.sql:1:1: [PARSE_SYNTAX_ERROR] DELETE does not begin a statement here; "),
        ("SET novalue", "script.sql:1:1: [PARSE_SYNTAX_ERROR] expected SET key = value"),
    ];
    for (script, start) in places {
        let (status, text) = outcome(script);
        assert_eq!(status, Some(2), "{script}: {text}");
        assert!(text.starts_with(start), "{script}: {text}");
    }
}

#[test]
fn what_the_engine_does_not_have_is_named() {
    let tables = "CREATE TABLE t (a INT, b STRING) USING json LOCATION 'in';\n";
    let refused = [
        ("SELECT a FROM t WHERE a NOT IN (SELECT a FROM t u WHERE u.b = t.b)", "2:23", "use NOT EXISTS"),
        ("SELECT sum(DISTINCT a) OVER (ORDER BY a) FROM t", "2:8", "collect_set"),
        ("SELECT a FROM t INTERSECT SELECT a FROM t", "2:27", "use a left semi"),
        ("SELECT id FROM range(3) EXCEPT ALL BY NAME SELECT id FROM range(2)", "2:44", "columns in order"),
        ("SELECT a FROM t WHERE EXISTS (SELECT a FROM t u WHERE u.a > t.a)", "2:55", "write a join"),
        ("SELECT a, count(*) FROM t GROUP BY a WITH TOTALS", "2:36", "ROLLUP"),
        ("SELECT a FROM t TABLESAMPLE (10 PERCENT)", "2:15", "TABLESAMPLE"),
        ("SELECT a FROM t SORT BY a", "2:1", "use ORDER BY"),
    ];
    for (query, place, hint) in refused {
        let (status, text) = outcome(&format!("{tables}{query}"));
        assert_eq!(status, Some(2), "{query}: {text}");
        assert!(
            text.starts_with(&format!("script.sql:{place}: [UNSUPPORTED_STREAMING_OPERATION] ")),
            "{query}: {text}"
        );
        assert!(text.contains(hint), "{query}: {text}");
    }
}

#[test]
fn output_modes_that_the_query_forbids_are_found_at_the_start() {
    let (status, text) = outcome(
        "CREATE TABLE t (a INT) USING json LOCATION 'in';\nCREATE TABLE out USING console;\nINSERT INTO out SELECT a, count(*) FROM t GROUP BY a",
    );
    assert_eq!(status, Some(2), "{text}");
    assert!(text.starts_with("script.sql:3:13: [STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION] "), "{text}");
}

#[test]
fn arguments_that_are_wrong() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["run"][..],
        &["run", "nowhere.sql"],
        &["walk", "x.sql"],
        &["run", "-e", "SET a = 1", "--set", "novalue"],
        &["run", "-e", "SET a = 1", "--trigger", "never"],
    ] {
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

#[test]
fn a_query_that_fails_ends_with_status_1() {
    let directory = with_script(
        "CREATE TABLE t (a STRING) USING json LOCATION 'in';
         CREATE TABLE out USING console OPTIONS (format 'json', trigger 'availableNow');
         INSERT INTO out SELECT CAST(a AS INT) AS a FROM t",
    );
    std::fs::create_dir(directory.path().join("in")).unwrap();
    std::fs::write(directory.path().join("in/1.json"), "{\"a\":\"x\"}\n").unwrap();
    let output = run(directory.path(), &["run", "script.sql"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("[STREAM_FAILED] "), "{}", stderr(&output));
    assert!(stderr(&output).contains("[CAST_INVALID_INPUT] "), "{}", stderr(&output));
    // The same script with ANSI off gives NULL.
    let output = run(directory.path(), &["run", "script.sql", "--set", "spark.sql.ansi.enabled=false"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "{\"batchId\":0,\"row\":{}}\n".to_string()));
}
