# qslab top: --once shows what stat counts; the screen sorts, filters, pauses, helps and ends as the keys say.
. "$(dirname "$0")/look.bash"
"$tool" --help | grep -q '^  top ' || skip "the tool was built without ncurses"

start healthy
look stat --format json "$process" && cp out stat.json
look top --once "$process"
judge '
stat = json.load(open("stat.json"))
classes = {c["size"]: c for c in stat["allocators"][0]["classes"]}
rows = [line.split() for line in out.split("LIVE GROWTH  CACHE\n")[1].splitlines()]
assert len(rows) == len(classes) > 20
for row in rows:
    c = classes[int(row[0])]
    assert [int(n) for n in row[1:4]] == [c["slabs"], c["objects"], c["live"]], (row, c)
    assert abs(float(row[4]) - 100 * c["live"] / c["objects"]) < 0.06
    assert [int(n) for n in row[5:9]] == [c["free"] + c["remote"], c["magazines"], c["waiting"], c["ready"]], (row, c)
    factor = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}[row[10]]
    assert abs(float(row[9]) * factor - c["resident"]) <= 0.06 * factor
resident = [classes[int(row[0])]["resident"] for row in rows]
assert resident == sorted(resident, reverse=True)
assert "process %d (patient): " % stat["pid"] in out.splitlines()[0]'
look top --once --sort size --filter 64-128 "$process"
judge '
sizes = [int(line.split()[0]) for line in out.split("LIVE GROWTH  CACHE\n")[1].splitlines()]
assert sizes == [64, 80, 96, 112, 128], sizes'
look top --once --filter large "$process"
judge 'assert out.endswith("LIVE GROWTH  CACHE\n")'

stop

# memory that is given back while it is read is not explained twice; what comes and goes meanwhile is said to
start swinging
for _ in $(seq 40); do
	look stat --format json "$process"
	judge 'tool = json.loads(out); assert tool["changing"] == (tool["explained"] > tool["rss"] + tool["rss"] // 50), (tool["explained"], tool["rss"])'
	look top --once "$process"
	judge '
head = out.splitlines()[0]
percent = re.search(r"MiB resident, ([0-9.]+) % explained$", head)
moved = re.search(r" resident, moved by [0-9.]+ .?i?B while it was read$", head)
assert moved or head.endswith(" resident, falling faster than it can be read") or 97.9 < float(percent.group(1)) < 102.1, head'
done
# settled: of the table in `out`, resident memory is explained, or what is in the way is said.
settled='
rss = int(re.search(r", RSS (\d+) KiB", out).group(1))
share = float(re.search(r"^  explained +\d+ +([\d.]+)$", out, re.M).group(1))
moved = re.search(r"^\(RSS moved by (\d+) KiB while it was read: approximate\)$", out, re.M)
falls = "\n(the process gives memory back faster than it can be read: approximate)\n" in out
assert int(moved.group(1)) >= rss // 50 if moved else falls or 97.9 < share < 102.1, (rss, share)'
notes=0
for _ in $(seq 40); do
	look stat "$process"
	judge "$settled"
	grep -q '^(RSS moved' out && ((++notes))
done
[ $notes -gt 0 ] || echo "note: RSS never moved too fast to be read"
stop
start growing
echo >&9
for _ in $(seq 20); do
	look stat --format json "$process"
	judge '
tool = json.loads(out)
assert tool["explained"] > .98 * tool["rss"] or tool["rss_moved"] >= tool["rss"] // 50, (tool["explained"], tool["rss"])'
	look stat "$process"
	judge "$settled"
done
stop

start healthy
cat >screen.py <<'PYTHON'
# Types into top, on a terminal, and looks at what it draws.
import fcntl, os, pty, re, select, struct, sys, termios, time
tool, process = sys.argv[1:]
pid, terminal = pty.fork()
if not pid:
    os.environ["TERM"] = "xterm"
    os.execv(tool, [tool, "top", "--interval", "0.1", process])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
seen = b""
def read(seconds):
    global seen
    got = b""
    while select.select([terminal], [], [], seconds)[0]:
        try:
            more = os.read(terminal, 65536)
        except OSError:
            break
        if not more:
            break
        got += more
        if len(got) > 1 << 20:
            break
        seconds = 0.3 if not running else 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][B0]?", " ", got.decode("latin1"))
running = True
def expect(text, seconds=20):
    end, all = time.time() + seconds, ""
    while time.time() < end:
        all += read(0.2)
        if re.search(text.replace(" ", r"\s+"), all):
            return
    sys.exit("no %r on the screen: %r" % (text, all[-2000:]))
def press(keys):
    os.write(terminal, keys.encode())
expect("sorted by resident")
for keys, text in (("h", "any key goes back"), ("x", "SIZE SLABS"), ("s", "sorted by size;"), ("s", "sorted by size, reversed"),
                   ("/64-128\r", "only sizes 64-128"), ("/nonsense\r", "not a size"), ("/\r", "all sizes"),
                   ("\x1b[B\x1b[A", "all sizes"), ("+", "every 200 ms"), ("p", "PAUSED")):
    press(keys + "\f")  # draws all again
    expect(text)
press("q")
end = time.time() + 20
while time.time() < end:
    read(0.1)
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
sys.exit("q does not end it")
PYTHON
timeout 100 "$python" screen.py "$tool" "$process" 2>err || fail "the screen: status $?: $(cat err)"
# the process ends under it
sed 's/^expect("sorted by resident")$/&; open("drawn", "w").close()/; /^press/d; /^for keys/,/^    expect/d' screen.py >ends.py
timeout 60 "$python" ends.py "$tool" "$process" >ends.out 2>ends.err 9>&- & screen=$!
for _ in $(seq 300); do [ -e drawn ] && break; sleep 0.1; done
stop
wait $screen
[ $? -eq 1 ] || fail "top of a process that ended: $(cat ends.err)"

start healthy
wants 1 'top: stdin and stdout must be a terminal; --once prints one screen' top "$process"
stop
wants 2 'top: no process given' top
wants 2 'top: no such column to sort by: nonsense' top --sort nonsense 1
wants 2 'top: --filter is a size' top --filter 9-1 1
wants 2 'top: --interval needs seconds' top --interval x 1
wants 1 'process 2147483647: no such process' top --once 2147483647
finish
