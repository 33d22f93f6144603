CREATE TABLE trips (id INT, city STRING, fare DOUBLE) USING csv OPTIONS (header true, path 'trips');
CREATE TABLE out USING console OPTIONS ('format' = 'json', trigger = 'availableNow');
/* NULL columns are left out, as to_json does. */
INSERT INTO out SELECT id, `city`, fare * 2 AS twice, id % 2 = 1 AS odd FROM trips WHERE id >= 2 OR fare > 100;
