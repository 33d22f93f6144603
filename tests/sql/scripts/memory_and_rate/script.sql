CREATE TABLE ticks USING rate OPTIONS (rowsPerSecond 5, 'watermark.column' 'timestamp', 'watermark.delay' '1 second');
CREATE TABLE kept USING memory OPTIONS (queryName 'kept', trigger 'once');
INSERT INTO kept SELECT timestamp, value FROM ticks;
