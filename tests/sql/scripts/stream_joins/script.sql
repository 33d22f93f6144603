CREATE TABLE rides (id BIGINT, driver STRING, fare DOUBLE) USING json LOCATION 'rides';
-- A table that does not grow, read once.
CREATE TABLE drivers (driver STRING, name STRING) USING csv LOCATION 'drivers' OPTIONS (streaming false);
CREATE TABLE out USING console OPTIONS (format 'json', trigger 'availableNow');
INSERT INTO out
SELECT r.id, d.name, r.fare
FROM rides r LEFT JOIN drivers AS d ON r.driver = d.driver
WHERE r.fare < 25;
