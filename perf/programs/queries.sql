-- Indexes, joins, sorting, JSON, deletes; in memory. ROWS is replaced by a number.
CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ROWS)
INSERT INTO t SELECT i, (i * 7919) % 1000, printf('%0*d', i % 200, i) FROM n;
CREATE INDEX ta ON t(a); CREATE INDEX tab ON t(a, b);
SELECT a, count(*), sum(length(b)) FROM t GROUP BY a ORDER BY a LIMIT 50;
SELECT count(*), sum(x.id * y.id) FROM t x JOIN t y ON x.a = y.a WHERE x.id < 500;
SELECT id, b FROM t ORDER BY substr(b, -3), b DESC, id LIMIT 100;
SELECT sum(json_extract(j, '$.n[1]')) FROM (SELECT json_object('n', json_array(id, a)) AS j FROM t);
SELECT length(group_concat(b)), hex(substr(group_concat(b), 100000, 20)) FROM t;
UPDATE t SET b = b || '-' || a WHERE a % 10 = 0;
DELETE FROM t WHERE id % 3 = 0;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ROWS)
SELECT sum(length((SELECT b FROM t WHERE t.a = n.i % 1000 ORDER BY b LIMIT 1))) FROM n WHERE i % 50 = 0;
SELECT count(*), total(length(b)) FROM t;
