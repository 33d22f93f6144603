-- Windowed metrics over JSON files: one file is one batch, a window comes once it can no longer change. The late ride of the third file
-- still counts: its batch was planned before the watermark passed the window.
SET spark.sql.shuffle.partitions = 2;
CREATE EXTERNAL TABLE rides (
    driver_id STRING,
    city STRING,       -- as the app writes it
    fare_amount DOUBLE,
    status STRING,
    event_time TIMESTAMP
) STORED AS JSON LOCATION 'rides/'
  OPTIONS ('watermark.column' 'event_time', 'watermark.delay' '10 minutes', 'maxFilesPerTrigger' '1');
CREATE EXTERNAL TABLE out STORED AS CONSOLE LOCATION '-'
  OPTIONS ('format' 'json', 'outputMode' 'append', 'checkpointLocation' 'ck/', 'trigger' 'availableNow');
INSERT INTO out
SELECT window.start, window.end AS until, city, count(*) AS n, sum(fare_amount) AS total,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       completed / n AS completion_rate
FROM rides
GROUP BY window(event_time, '5 minutes'), city
HAVING n > 1;
