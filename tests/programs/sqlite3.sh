# sqlite3: indexes, joins, JSON, deletes, vacuum; the same answers and the same content as without the library.
. "$(dirname "$0")/common.bash"
need sqlite3
cat >"$work/script" <<'SQL'
CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO t SELECT i, (i * 7919) % 1000, printf('%0*d', i % 200, i) FROM n;
CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b); CREATE INDEX tab ON t(a, b);
SELECT a, count(*), sum(length(b)) FROM t GROUP BY a ORDER BY a LIMIT 50;
SELECT count(*), sum(x.id * y.id) FROM t x JOIN t y ON x.a = y.a WHERE x.id < 500;
SELECT id, b FROM t ORDER BY substr(b, -3), b DESC, id LIMIT 100;
SELECT json_group_array(json_object('id', id, 'b', b)) FROM t WHERE id % 5000 = 0;
SELECT sum(json_extract(j, '$.n[1]')) FROM (SELECT json_object('n', json_array(id, a)) AS j FROM t);
SELECT length(group_concat(b)), hex(substr(group_concat(b), 1000000, 20)) FROM t;
UPDATE t SET b = b || '-' || a WHERE a % 10 = 0;
DELETE FROM t WHERE id % 3 = 0;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), total(length(b)) FROM t;
SQL
plain sqlite3 "$work/a.db" <"$work/script" >"$work/answers.plain" || fail "without the library"
preloaded sqlite3 "$work/b.db" <"$work/script" >"$work/answers.preloaded" || fail "exit status $?"
same answers
grep -qx ok "$work/answers.preloaded" || fail "integrity_check"
plain sqlite3 "$work/a.db" .dump >"$work/dump.plain"
preloaded sqlite3 "$work/b.db" .dump >"$work/dump.preloaded" || fail "dump"
same dump
[ "$(plain sqlite3 "$work/b.db" 'PRAGMA integrity_check')" = ok ] || fail "the database, read without the library"
finish
