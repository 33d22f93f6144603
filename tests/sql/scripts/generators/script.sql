-- Rows made of rows, in a stream.
CREATE TABLE orders (id INT, items ARRAY<STRING>, prices MAP<STRING, INT>, at TIMESTAMP) USING json LOCATION 'orders';
CREATE TABLE out USING console OPTIONS (format 'json', trigger 'availableNow');
INSERT INTO out
SELECT o.id, i.place, i.item, p.k AS priced, p.v AS price
FROM orders AS o
LATERAL VIEW posexplode(items) i AS place, item
LATERAL VIEW OUTER explode(prices) p AS k, v
WHERE i.item <> 'nothing';
