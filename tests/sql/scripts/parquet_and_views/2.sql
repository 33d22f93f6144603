CREATE TABLE lake (ride BIGINT, city STRING, fare DOUBLE) USING parquet LOCATION 'lake';
CREATE TABLE out USING console OPTIONS (format 'json', trigger 'once', outputMode 'complete');
INSERT INTO out
WITH every AS (
    SELECT ride, fare FROM lake WHERE city = 'Oslo'
    UNION ALL
    SELECT l.ride, l.fare FROM lake AS l WHERE l.city <> 'Oslo'
)
SELECT count(*) AS n, sum(fare) AS total, max(e.ride) AS last FROM every e;
