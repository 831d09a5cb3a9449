# Caches' names, and the process's own, that are not plain ASCII: UTF-8 stays as it is, what is none becomes U+FFFD, in
# every text; nothing in a table commands the terminal, and its columns stay in line.
. "$(dirname "$0")/look.bash"

# names CODE: Python, with the bytes and the text of `out`; it asserts.
names() {
	"$python" - <<<"import json, re
raw = open('out', 'rb').read()
out = raw.decode()
X = '\ufffd'
expected = ['\u00e4 \u20ac \U0001f600', X + '-' + X, 'a\x1b[2Jb\n\u009b\"', X * 31]
shown = [expected[0], expected[1], 'a?[2Jb??\"', expected[3]]
$1" || fail "see above: $(head -c 4000 out)"
}

launch env QSLAB_PROFILE=4M "$build/tests/heap" names
look stat --format json "$process"
names '
tool = json.loads(out)
assert tool["command"] == "he" + X + "p", tool["command"]
of_size = {c["size"]: c.get("cache") for c in tool["allocators"][0]["classes"] if c.get("cache")}
assert [of_size[1008 + 8 * i] for i in range(4)] == expected, of_size'
tables='
assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", out), "a control character"
assert [n for n in shown if n not in out] == []'
look stat "$process"
names "$tables"
look profile --format text "$process"
names "$tables"
look record --interval 0.1 --duration 0.2 -o recording "$process"
head -1 recording | "$python" -c 'import json, sys
line = json.loads(sys.stdin.buffer.read().decode())
for c in line["allocators"][0]["classes"]:
    c["live"] = c["live"] // 2
print(json.dumps(line))' >half.json
head -1 recording >whole.json
look diff half.json whole.json
names "$tables"'
rows = [line for line in out.split("\n") if " objects of cache " in line]
assert len(rows) == 4, rows
assert len({re.search(r" \+500$", row).start() for row in rows if "cache " + X * 31 not in row}) == 1, rows'
look report recording
names '
import xml.etree.ElementTree as tree
tree.fromstring(out.removeprefix("<!DOCTYPE html>"))
assert expected[0] in out'
# top's screen cuts a line where its columns end, not its bytes: 109 of them come before the name, whose six need ten
if "$tool" --help | grep -q '^  top '; then
	cat >screen.py <<'PYTHON'
import fcntl, os, pty, select, struct, sys, termios, time
tool, process = sys.argv[1:]
pid, terminal = pty.fork()
if not pid:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 115, 0, 0))
    os.environ.update(TERM="xterm", LC_ALL="C.UTF-8")
    os.execv(tool, [tool, "top", "--sort", "size", "--filter", "1008-1040", process])
seen = b""
while b"sort" not in seen.split(b"h help")[-1] and select.select([terminal], [], [], 20)[0]:
    seen += os.read(terminal, 65536)
os.write(terminal, b"q")
while select.select([terminal], [], [], 20)[0]:
    try:
        seen += os.read(terminal, 65536)
    except OSError:
        break
os.waitpid(pid, 0)
assert "\u00e4 \u20ac \U0001f600" in seen.decode(), seen
PYTHON
	timeout 60 "$python" screen.py "$tool" "$process" || fail "see above"
fi
stop
finish
