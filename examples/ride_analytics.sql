-- The three queries of examples/ride_analytics in SQL: one topic of ride events in, a topic, the console and a lake out, exactly once.
--
--     tidemill run examples/ride_analytics.sql
--
-- It needs a broker on localhost:9092 with the topics ride-events and city-ride-metrics. All three queries run until Ctrl-C or SIGTERM, and
-- go on where they were when they are started again.

SET spark.app.name = UberRealTimeAnalytics;
SET spark.sql.shuffle.partitions = 200;

CREATE TABLE ride_events USING kafka
OPTIONS (
    kafka.bootstrap.servers 'localhost:9092',
    subscribe 'ride-events',
    startingOffsets 'latest',
    maxOffsetsPerTrigger 100000
);

-- Ride events, parsed, cleaned and enriched.
CREATE TEMPORARY VIEW parsed_rides AS
SELECT CAST(key AS STRING) AS key,
       from_json(
           CAST(value AS STRING),
           'ride_id STRING, driver_id STRING, rider_id STRING, city STRING, pickup_lat DOUBLE, pickup_lon DOUBLE,
            dropoff_lat DOUBLE, dropoff_lon DOUBLE, fare_amount DOUBLE, status STRING, event_time TIMESTAMP'
       ) AS data,
       timestamp AS kafka_timestamp
FROM ride_events;

CREATE TEMPORARY VIEW clean_rides AS
SELECT *, to_date(event_time) AS event_date, hour(event_time) AS hour_of_day
FROM (SELECT key, data.*, kafka_timestamp FROM parsed_rides)
WHERE status IN ('completed', 'cancelled', 'in_progress');

-- An event time is declared where it is first a column: on the view.
CREATE TEMPORARY VIEW rides
OPTIONS ('watermark.column' 'event_time', 'watermark.delay' '10 minutes')
AS SELECT * FROM clean_rides;

CREATE TEMPORARY VIEW completed_rides
OPTIONS ('watermark.column' 'event_time', 'watermark.delay' '30 minutes')
AS SELECT * FROM clean_rides;

-- 1. Rides per city and 5-minute window, to Kafka for a dashboard.
CREATE TABLE city_ride_metrics USING kafka
OPTIONS (
    kafka.bootstrap.servers 'localhost:9092',
    topic 'city-ride-metrics',
    checkpointLocation 'ride-analytics/checkpoints/city-rides',
    outputMode 'update',
    trigger '30 seconds',
    queryName 'city_rides'
);

INSERT INTO city_ride_metrics
SELECT city AS key, to_json(struct(*)) AS value
FROM (
    SELECT window, city,
           count(*) AS ride_count,
           sum(CASE WHEN status = 'completed' THEN 1 ELSE 0 END) AS completed_rides,
           avg(fare_amount) AS avg_fare,
           approx_count_distinct(driver_id) AS active_drivers,
           completed_rides / ride_count AS completion_rate
    FROM rides
    GROUP BY window(event_time, '5 minutes'), city
);

-- 2. Surge pricing where demand is high, to the console for monitoring.
CREATE TABLE surge_console USING console
OPTIONS (
    truncate false,
    checkpointLocation 'ride-analytics/checkpoints/surge',
    outputMode 'update',
    trigger '30 seconds',
    queryName 'surge_detection'
);

INSERT INTO surge_console
SELECT window, city,
       count(*) AS total_requests,
       sum(CASE WHEN status = 'in_progress' THEN 1 ELSE 0 END) AS active_rides,
       approx_count_distinct(driver_id) AS available_drivers,
       CASE WHEN active_rides / available_drivers > 3 THEN 2.0D
            WHEN active_rides / available_drivers > 2 THEN 1.5D
            ELSE 1.0D END AS surge_multiplier
FROM rides
GROUP BY window(event_time, '5 minutes'), city
HAVING surge_multiplier > 1;

-- 3. Performance of drivers, to the data lake.
CREATE TABLE driver_metrics USING parquet LOCATION 'ride-analytics/driver-metrics'
OPTIONS (
    checkpointLocation 'ride-analytics/checkpoints/driver-metrics',
    outputMode 'append',
    trigger '5 minutes',
    queryName 'driver_metrics'
);

INSERT INTO driver_metrics
SELECT window, driver_id,
       count(*) AS completed_rides,
       avg(fare_amount) AS avg_fare,
       count(DISTINCT rider_id) AS unique_riders
FROM completed_rides
WHERE status = 'completed'
GROUP BY window(event_time, '15 minutes'), driver_id;
