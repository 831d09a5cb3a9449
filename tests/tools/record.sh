# qslab record, report, diff: what is recorded is what stat prints, and the page and the difference say so.
. "$(dirname "$0")/look.bash"

start leaking
look stat --format json "$process" && cp out before.json
look record --interval 0.1 --duration 1 -o recording "$process"
look stat --format json "$process" && cp out after.json
look report recording -o page.html
look diff recording
cp out diff.out
judge '
lines = [json.loads(line) for line in open("recording")]
assert len(lines) == 11, len(lines)
seconds = [line["seconds"] for line in lines]
assert seconds == sorted(seconds) and 0.99 <= seconds[-1] < 20
live = [sum(c.get("live", 0) * c["size"] for c in line["allocators"][0]["classes"]) for line in lines]
assert live == sorted(live) and live[-1] > live[0]
leaked = [sum(c.get("live", 0) for c in line["allocators"][0]["classes"] if c["size"] == 48) for line in lines]
assert max(len(line) for line in open("recording")) < 3000

row = re.search(r"^48 B objects +\S+ \S+ +\S+ \S+ +\+(\S+) MiB +\+(\d+)$", out, re.M)
assert int(row[2]) == leaked[-1] - leaked[0], row[0]
assert abs(float(row[1]) * 2**20 - 48 * (leaked[-1] - leaked[0])) < 60000, row[0]
assert re.search(r"^all \(RSS\) .*\+", out, re.M)

import xml.etree.ElementTree as tree
page = open("page.html").read()
root = tree.fromstring(page.removeprefix("<!DOCTYPE html>"))
ns = "{http://www.w3.org/1999/xhtml}"
assert not re.search(r"(src|href)=|url\(|<script|https?://(?!www.w3.org/1999/xhtml)", page)
sections = {s.get("id"): s for s in root.iter(ns + "section")}
assert set(sections) == {"resident", "sizes", "table"}, sections.keys()
line = [l for l in sections["sizes"].iter(ns + "polyline") if l.find(ns + "title").text == "48 B objects"]
points = [tuple(map(float, p.split(","))) for p in line[0].get("points").split()]
assert len(points) == 11
(x0, y0), (x1, y1) = points[0], points[-1]
assert x0 == 84 and x1 == 944 and y1 < y0  # it rises
bottom, height = 274, 264
assert abs((bottom - y0) / (bottom - y1) - leaked[0] / leaked[-1]) < 0.02, (points, leaked)
names = [t.text for t in sections["resident"].iter(ns + "title")]
assert "live objects" in names and "RSS" in names
hovers = [r for r in sections["resident"].iter(ns + "rect") if r.get("class") == "hover"]
assert len(hovers) == 11 and "live objects: " in hovers[3].find(ns + "title").text
assert page.count("<tr>") > 6'
look diff before.json after.json
says '^48 B objects .* \+[0-9]+$'
says "^before: before.json, process $process \(patient\)"
look report recording
cmp -s out page.html || fail "report on stdout is another page"

# the file grows while it is read; the process ends while it is recorded
timeout 60 "$tool" record --interval 0.05 -o growing "$process" 2>err 9>&- & recorder=$!
for _ in $(seq 200); do [ -s growing ] && [ "$(wc -l <growing)" -gt 3 ] && break; sleep 0.05; done
stop
wait $recorder || fail "record of a process that ended: status $?: $(cat err)"
grep -qE "^qslab: process $process: ended while it was read; [0-9]+ lines recorded$" err || fail "record: $(cat err)"
head -c -20 growing >cut
look diff cut
look report cut -o cut.html

# a stalled reader: its plots are there; an interrupt ends a recording well
start stalled
timeout 60 "$tool" record --interval 0.1 -o stalled "$process" 9>&- & recorder=$!
for _ in $(seq 200); do [ -s stalled ] && [ "$(wc -l <stalled)" -gt 5 ] && break; sleep 0.05; done
kill -INT $(pgrep -P $recorder) 2>/dev/null || kill -INT $recorder
wait $recorder || fail "record, interrupted: status $?"
look report stalled -o stalled.html
judge '
page = open("stalled.html").read()
assert all("id=\"%s\"" % section in page for section in ("deferred", "grace"))
assert "waiting for a grace period: 2.9 MiB" in page'
stop

wants 2 'record: no process given' record -o x
wants 2 'record: no file given: -o FILE' record 1
wants 2 'record: --interval needs seconds' record --interval -1 -o x 1
wants 1 'process 2147483647: no such process' record -o x 2147483647
[ ! -e x ] || fail "a file for no process"
wants 2 'report: no recording given' report
wants 1 '/nonexistent: No such file or directory' report /nonexistent
wants 1 '/dev/full: No space left on device' report recording -o /dev/full
: >empty
wants 1 'empty: empty' report empty
echo '{"a": 1}' >other
wants 1 'other: line 1: not of a recording' diff other
# lines that nobody wrote harm nothing
cat >strange <<'JSON'
{"allocators": [1, null, {"classes": 5, "large": [], "grace": "x"}], "seconds": 1e308, "resident": 7, "command": 3}
{"allocators": [{"classes": [{"size": -1}, {"size": 99999999999}, {"size": 8, "live": -5, "slabs": 1e9}, {}]}], "seconds": -1e308}
{"allocators": [{"classes": [{"size": 48, "live": 9223372036854775807, "cache": "<a\u0001&\"'>"}], "grace": {"age_seconds": 1e300, "retired": 1}}]}
JSON
look report strange -o strange.html
"$python" -c 'import xml.dom.minidom as x; x.parse("strange.html")' || fail "strange.html"
look diff strange
printf '%s\nnonsense\n' "$(head -1 recording)" >spoiled
wants 1 'spoiled: line 2: not of a recording' report spoiled
wants 1 "$work: Is a directory" diff "$work"
wants 2 'diff: no recording given' diff
wants 2 'diff: superfluous argument c' diff a b c
finish
