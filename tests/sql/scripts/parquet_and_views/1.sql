CREATE TABLE rides (id BIGINT, city STRING, fare DOUBLE) USING json LOCATION 'rides';
CREATE OR REPLACE TEMPORARY VIEW dear AS SELECT * FROM rides WHERE fare > 10;
CREATE TABLE lake (ride BIGINT, city STRING, fare DOUBLE) USING parquet LOCATION 'lake'
  OPTIONS (checkpointLocation 'ck', trigger 'availableNow', queryName 'lake');
-- By position, as an INSERT assigns: the first column is called ride in the lake.
INSERT INTO lake SELECT * FROM dear;
