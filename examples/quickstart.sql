-- Windowed metrics over generated rides: nothing to set up.
--
--     tidemill run examples/quickstart.sql
--
-- Ten seconds of rows per window; a window is printed each time it changes. Stop with Ctrl-C: the batch in progress is finished first.

CREATE TABLE ticks USING rate
OPTIONS (rowsPerSecond 1000, 'watermark.column' 'timestamp', 'watermark.delay' '5 seconds');

-- Every number becomes a ride of one of three cities.
CREATE TEMPORARY VIEW rides AS
SELECT timestamp AS event_time,
       CASE value % 3 WHEN 0 THEN 'Oslo' WHEN 1 THEN 'Bergen' ELSE 'Tromsø' END AS city,
       5 + value % 40 / 2 AS fare,
       value % 7 <> 0 AS completed
FROM ticks;

CREATE TABLE dashboard USING console
OPTIONS (outputMode 'update', truncate false, trigger '2 seconds', queryName 'dashboard');

INSERT INTO dashboard
SELECT window.start, window.end, city,
       count(*) AS rides,
       count(*) FILTER (WHERE completed) AS completed_rides,
       avg(fare) AS avg_fare,
       completed_rides / rides AS completion_rate
FROM rides
GROUP BY window(event_time, '10 seconds'), city;
