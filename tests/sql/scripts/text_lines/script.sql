CREATE TABLE logs STORED AS TEXT LOCATION 'logs';
CREATE TABLE errors STORED AS CONSOLE LOCATION '-' OPTIONS ('format' 'json', 'trigger' 'once');
INSERT INTO errors SELECT value AS line FROM logs WHERE value LIKE 'ERROR%';
