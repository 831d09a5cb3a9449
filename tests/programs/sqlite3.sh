# sqlite3: indexes, joins, JSON, vacuum; the same answers as without the library.
. "$(dirname "$0")/common.bash"
need sqlite3
cat >"$work/script" <<'SQL'
CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO t SELECT i, (i * 7919) % 1000, printf('%0*d', i % 200, i) FROM n;
CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b);
SELECT a, count(*), sum(length(b)) FROM t GROUP BY a ORDER BY a LIMIT 50;
SELECT count(*) FROM t x JOIN t y ON x.a = y.a WHERE x.id < 500;
SELECT json_group_array(json_object('id', id, 'b', b)) FROM t WHERE id % 5000 = 0;
DELETE FROM t WHERE id % 3 = 0; VACUUM;
PRAGMA integrity_check; SELECT count(*), total(length(b)) FROM t;
SQL
sqlite3 "$work/a.db" <"$work/script" >"$work/out.plain" || fail "without the library"
preloaded timeout 120 sqlite3 "$work/b.db" <"$work/script" >"$work/out.preloaded" || fail "exit status"
same out
finish
