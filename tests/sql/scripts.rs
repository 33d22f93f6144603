//! `scripts/*`: directories of scripts and their input. The rows that the last script prints are `expected.jsonl`, to the byte.

use crate::support::{run, stderr, stdout, with_script};
use std::path::{Path, PathBuf};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn check(name: &str) {
    let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sql/scripts")).join(name);
    let directory = tempfile::tempdir().unwrap();
    copy(&from, directory.path());
    // Files are read in the order of their times, which a copy does not keep.
    let mut inputs: Vec<PathBuf> = Vec::new();
    let mut open = vec![directory.path().to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { inputs.push(path) }
        }
    }
    inputs.sort();
    for (second, path) in inputs.iter().enumerate() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + second as u64);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    let mut scripts: Vec<String> = std::fs::read_dir(&from)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file.ends_with(".sql"))
        .collect();
    scripts.sort();
    let mut printed = String::new();
    for script in &scripts {
        let output = run(directory.path(), &["run", script]);
        assert_eq!(output.status.code(), Some(0), "{name}/{script}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{name}/{script}");
        printed = stdout(&output);
    }
    assert_eq!(printed, std::fs::read_to_string(from.join("expected.jsonl")).unwrap(), "{name}");
}

#[test]
fn json_files_in_windows() {
    check("json_windows");
}

#[test]
fn csv_files_to_the_console() {
    check("csv_to_console");
}

#[test]
fn lines_of_text() {
    check("text_lines");
}

#[test]
fn parquet_files_written_and_read_through_views() {
    check("parquet_and_views");
}

#[test]
fn the_rate_source_and_the_memory_sink() {
    check("memory_and_rate");
}

#[test]
fn a_stream_joined_with_a_table() {
    check("stream_joins");
}

#[test]
fn every_type_as_the_json_console_writes_it() {
    check("json_console");
}

#[test]
fn generators_in_lateral_views() {
    check("generators");
}

/// The tables that a script of SELECTs prints.
fn printed(script: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["run", "-e", script]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn generators_with_names_and_sliding_windows_as_values() {
    let text = printed(
        "SELECT id, explode(map('a', 1, 'b', 2)) AS (k, v) FROM range(1);
         SELECT posexplode(array('x')) AS (place, item);
         SELECT w.start AS s FROM (SELECT window(TIMESTAMP '2026-01-01 00:00:07', '10 seconds', '5 seconds') AS w);
         SELECT t.* FROM range(2) LATERAL VIEW stack(2, id, 'one', id + 1, 'two') t AS n, name WHERE id = 1",
    );
    let expected = [
        "+---+---+---+",
        "|id |k  |v  |",
        "+---+---+---+",
        "|0  |a  |1  |",
        "|0  |b  |2  |",
        "+---+---+---+",
        "+-----+----+",
        "|place|item|",
        "+-----+----+",
        "|0    |x   |",
        "+-----+----+",
        "+-------------------+",
        "|s                  |",
        "+-------------------+",
        "|2026-01-01 00:00:05|",
        "|2026-01-01 00:00:00|",
        "+-------------------+",
        "+---+----+",
        "|n  |name|",
        "+---+----+",
        "|1  |one |",
        "|2  |two |",
        "+---+----+",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn tables_as_sets() {
    let text = printed(
        "CREATE VIEW a AS SELECT * FROM VALUES (1, 'x'), (1, 'x'), (NULL, 'y'), (3, NULL) AS t(n, s);
         CREATE VIEW b AS SELECT * FROM VALUES (NULL, 'y'), (1, 'x'), (4, 'z') AS t(n, s);
         SELECT * FROM a INTERSECT SELECT * FROM b ORDER BY n;
         SELECT * FROM a EXCEPT SELECT * FROM b;
         SELECT * FROM a MINUS SELECT * FROM a",
    );
    let expected = [
        "+----+---+",
        "|n   |s  |",
        "+----+---+",
        "|NULL|y  |",
        "|1   |x  |",
        "+----+---+",
        "+---+----+",
        "|n  |s   |",
        "+---+----+",
        "|3  |NULL|",
        "+---+----+",
        "+---+---+",
        "|n  |s  |",
        "+---+---+",
        "+---+---+",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn tables_are_written_at_once_and_by_partition() {
    let directory = tempfile::tempdir().unwrap();
    let lake = "CREATE TABLE lake (n INT, city STRING) USING json LOCATION 'lake' OPTIONS (streaming false) PARTITIONED BY (city);";
    let told = |script: &str| {
        let output = run(directory.path(), &["run", "-e", &format!("{lake} {script}")]);
        assert_eq!(output.status.code(), Some(0), "{script}: {}", stderr(&output));
        stdout(&output)
    };
    told("INSERT INTO lake VALUES (1, 'Oslo'), (2, 'Moss')");
    told("INSERT INTO lake SELECT id, 'Oslo' FROM range(3, 4)");
    assert!(directory.path().join("lake/city=Oslo").is_dir());
    let rows = told("SELECT n, city FROM lake ORDER BY n");
    let line = |rows: &str, at: usize| rows.lines().nth(at).unwrap_or_default().to_string();
    assert_eq!([3, 4, 5].map(|at| line(&rows, at)), ["|1  |Oslo|", "|2  |Moss|", "|3  |Oslo|"]);
    told("INSERT OVERWRITE lake VALUES (7, 'Oslo')");
    assert_eq!(line(&told("SELECT n, city FROM lake"), 3), "|7  |Oslo|");
    // A stream into directories.
    let stream = "CREATE TABLE first (n INT, city STRING) USING json LOCATION 'lake';
        CREATE TABLE second USING parquet LOCATION 'second' OPTIONS (checkpointLocation 'ck', trigger 'availableNow') PARTITIONED BY (city);
        INSERT INTO second SELECT * FROM first";
    told(stream);
    assert!(directory.path().join("second/city=Oslo").is_dir());
}

#[test]
fn rows_flow_continuously_until_a_signal() {
    use std::io::BufRead;
    let directory = with_script(
        "CREATE TABLE ticks USING rate OPTIONS (rowsPerSecond 100);
         CREATE TABLE out USING console OPTIONS (format 'json', trigger 'continuous 1 second', checkpointLocation 'ck');
         INSERT INTO out SELECT value FROM ticks",
    );
    let mut child = crate::support::tidemill(directory.path(), &["run", "script.sql"]).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines.take(5).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    for line in &lines {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["row"]["value"].is_u64(), "{line}");
    }
}

#[test]
fn a_select_over_tables_prints_its_rows() {
    let directory = with_script(
        "CREATE TEMPORARY VIEW cities AS SELECT * FROM VALUES (1, 'Oslo', 2.5), (2, 'Bergen', NULL), (3, NULL, 10) AS t(id, city, fare);
         SELECT c.city, r.id * 10 AS ten, c.fare
         FROM range(1, 5) AS r INNER JOIN cities AS c ON r.id = c.id
         WHERE c.fare IS NOT NULL
         ORDER BY r.id DESC
         LIMIT 5;
         SELECT DISTINCT id DIV 3 AS third, upper('x') || 'y' AS xy FROM range(9) WHERE id > 3 ORDER BY 1;
         SELECT 1 + 1 AS two;",
    );
    let output = run(directory.path(), &["run", "script.sql"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = [
        "+----+---+----+",
        "|city|ten|fare|",
        "+----+---+----+",
        "|NULL|30 |10.0|",
        "|Oslo|10 |2.5 |",
        "+----+---+----+",
        "+-----+---+",
        "|third|xy |",
        "+-----+---+",
        "|1    |Xy |",
        "|2    |Xy |",
        "+-----+---+",
        "+---+",
        "|two|",
        "+---+",
        "|2  |",
        "+---+",
    ];
    assert_eq!(stdout(&output).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn examples_are_understood() {
    for example in ["quickstart.sql", "ride_analytics.sql"] {
        let file = format!("{}/examples/{example}", env!("CARGO_MANIFEST_DIR"));
        let output = run(std::path::Path::new(env!("CARGO_MANIFEST_DIR")), &["explain", &file]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let queries = std::fs::read_to_string(&file).unwrap().matches("INSERT INTO").count();
        assert_eq!(stdout(&output).matches("== Logical Plan ==").count(), queries, "{example}");
    }
}

#[test]
fn a_select_over_streams_prints_a_table() {
    let directory = with_script("");
    std::fs::create_dir(directory.path().join("in")).unwrap();
    std::fs::write(directory.path().join("in/1.json"), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n").unwrap();
    let text = "CREATE TABLE t (a INT) USING json LOCATION 'in'; SELECT a % 2 AS odd, count(*) AS n FROM t GROUP BY odd HAVING n > 1";
    let output = run(directory.path(), &["run", "-e", text, "--trigger", "availableNow"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rule = "-".repeat(43);
    assert_eq!(
        stdout(&output),
        format!("{rule}\nBatch: 0\n{rule}\n+---+---+\n|odd|  n|\n+---+---+\n|  1|  2|\n+---+---+\n\n")
    );
}

#[test]
fn explain_prints_plans_and_runs_nothing() {
    let directory = with_script(
        "CREATE TABLE t (a INT) USING json LOCATION 'in';
         CREATE TABLE out USING parquet LOCATION 'out' OPTIONS (checkpointLocation 'ck');
         INSERT INTO out SELECT a FROM t WHERE a > 1",
    );
    std::fs::create_dir(directory.path().join("in")).unwrap();
    let output = run(directory.path(), &["explain", "script.sql"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("-- INSERT INTO out\n== Logical Plan ==\n"), "{text}");
    assert!(text.contains("Filter a > Int32(1)"), "{text}");
    assert!(!directory.path().join("ck").exists());
    let output = run(
        directory.path(),
        &["run", "-e", "CREATE TABLE t (a INT) USING json LOCATION 'in'; EXPLAIN EXTENDED SELECT a FROM t"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("== Logical Plan ==\n"));
}

#[test]
fn the_version() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill")).arg("--version").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), concat!("tidemill ", env!("CARGO_PKG_VERSION"), "\n"));
}
