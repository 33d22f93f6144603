-- Every type as the JSON console writes it: programs read these lines.
CREATE TABLE events (
    id INT, flag BOOLEAN, tiny TINYINT, small SMALLINT, big BIGINT, single FLOAT, real DOUBLE, money DECIMAL(10, 2), name STRING, raw BINARY,
    day DATE, at TIMESTAMP, list ARRAY<INT>, pairs MAP<STRING, DOUBLE>, place STRUCT<lat: DOUBLE, city: STRING>
) USING json LOCATION 'events';
CREATE TABLE out USING console OPTIONS (format 'json', trigger 'availableNow');
INSERT INTO out SELECT *, window(at, '5 minutes') AS window, CAST('NaN' AS DOUBLE) AS nan FROM events WHERE id > 0;
