//! Kafka from SQL, against a broker in this process: the shape of examples/ride_analytics.sql.

#[path = "../support/broker.rs"]
mod broker;

use crate::support::{run, stderr, stdout, with_script};
use broker::Broker;

#[test]
fn rides_from_a_topic_to_a_topic_and_a_lake() {
    let broker = Broker::start(&[("ride-events", 2), ("city-ride-metrics", 1)]).unwrap();
    let tables = format!(
        "CREATE TABLE ride_events USING kafka
         OPTIONS (kafka.bootstrap.servers '{servers}', subscribe 'ride-events', startingOffsets 'earliest', maxOffsetsPerTrigger 3);
         CREATE TEMPORARY VIEW rides OPTIONS ('watermark.column' 'event_time', 'watermark.delay' '10 minutes') AS
         SELECT data.* FROM (
             SELECT from_json(CAST(value AS STRING), 'city STRING, driver_id STRING, fare_amount DOUBLE, status STRING, event_time TIMESTAMP') AS data
             FROM ride_events
         ) WHERE data.status IN ('completed', 'cancelled');
         CREATE TABLE events USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic 'ride-events');
         CREATE TABLE metrics USING kafka
         OPTIONS (kafka.bootstrap.servers '{servers}', topic 'city-ride-metrics', checkpointLocation 'ck/city', outputMode 'update', trigger 'availableNow');
         CREATE TABLE drivers USING parquet LOCATION 'drivers' OPTIONS (checkpointLocation 'ck/drivers', trigger 'availableNow');
         CREATE TABLE metrics_read USING kafka
         OPTIONS (kafka.bootstrap.servers '{servers}', subscribe 'city-ride-metrics', streaming false);",
        servers = broker.bootstrap()
    );
    let directory = with_script(&format!(
        "{tables}
         INSERT INTO metrics
         SELECT city AS key, to_json(struct(*)) AS value
         FROM (
             SELECT city, count(*) AS ride_count, sum(CASE WHEN status = 'completed' THEN 1 ELSE 0 END) AS completed_rides,
                    avg(fare_amount) AS avg_fare, approx_count_distinct(driver_id) AS active_drivers,
                    completed_rides / ride_count AS completion_rate
             FROM rides GROUP BY window(event_time, '5 minutes'), city
         );
         INSERT INTO drivers
         SELECT window, driver_id, count(*) AS completed_rides, count(DISTINCT city) AS cities
         FROM rides WHERE status = 'completed' GROUP BY window(event_time, '15 minutes'), driver_id"
    ));
    let done = |arguments: &[&str]| {
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let send = |rides: &[(&str, &str, f64, &str, &str)]| {
        let values: Vec<String> = rides
            .iter()
            .map(|(city, driver, fare, status, time)| {
                format!("('{city}', '{driver}', {fare:.1}D, '{status}', '2026-01-01T{time}:00Z')")
            })
            .collect();
        let values = values.join(", ");
        done(&[
            "run",
            "-e",
            &format!(
                "{tables} INSERT INTO events SELECT city AS key, to_json(struct(*)) AS value
             FROM VALUES {values} AS t(city, driver_id, fare_amount, status, event_time)"
            ),
        ]);
    };
    let rides = [
        ("Oslo", "ann", 10.0, "completed", "10:00"),
        ("Oslo", "bob", 20.0, "cancelled", "10:01"),
        ("Moss", "ann", 5.0, "completed", "10:02"),
        ("Moss", "ann", 5.0, "lost", "10:02"),
    ];
    send(&rides);
    done(&["run", "script.sql"]);
    // The same script goes on where it was.
    send(&[("Oslo", "cat", 30.0, "completed", "10:03"), ("Oslo", "cat", 1.0, "completed", "12:00")]);
    done(&["run", "script.sql"]);
    let last = "SELECT CAST(key AS STRING) AS city, max(CAST(value AS STRING)) AS metrics
                FROM metrics_read WHERE CAST(value AS STRING) LIKE '%\"ride_count\":3%' OR key = CAST('Moss' AS BINARY)
                GROUP BY key ORDER BY city";
    let printed = done(&["run", "-e", &format!("{tables} {last}")]);
    let rows: Vec<&str> = printed.lines().filter(|line| line.starts_with('|')).skip(1).map(str::trim_end).collect();
    assert_eq!(rows.len(), 2, "{printed}");
    assert!(rows[0].contains("\"city\":\"Moss\",\"ride_count\":1,\"completed_rides\":1,\"avg_fare\":5.0,\"active_drivers\":1,\"completion_rate\":1.0}"), "{printed}");
    assert!(
        rows[1].contains(
            "\"city\":\"Oslo\",\"ride_count\":3,\"completed_rides\":2,\"avg_fare\":20.0,\"active_drivers\":3,"
        ),
        "{printed}"
    );
    // The watermark has passed the first window of the drivers.
    let lake = "CREATE TABLE lake USING parquet LOCATION 'drivers' OPTIONS (streaming false);
                SELECT driver_id, completed_rides AS rides, cities FROM lake ORDER BY driver_id";
    let printed = done(&["run", "-e", lake]);
    let rows: Vec<&str> = printed.lines().filter(|line| line.starts_with('|')).skip(1).collect();
    assert_eq!(rows, ["|ann      |2    |2     |", "|cat      |1    |1     |"], "{printed}");
}
