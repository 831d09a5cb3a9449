# qslab stat, check, core: the numbers equal those of a process whose heap is known; nothing false is found in one under
# load, and what is false is found; at least 95 % of resident memory is explained; errors are one clear line.
. "$(dirname "$0")/look.bash"
header=$root/include/qslab/segment.h

# judge EXPRESSION: of `tool`, the JSON that the tool printed, `said`, what the process said, and a, the allocator.
judge() {
	"$python" - "$1" <<'PYTHON' || fail "$1: $(head -c 3000 out)"
import json, sys
tool, said = json.load(open("out")), json.load(open("said"))
a = tool["allocators"][0]
places = ["live", "free", "remote", "magazines", "waiting", "ready"]
total = lambda place: sum(c[place] * c["size"] for c in a["classes"])
of_size = {c["size"]: c for c in a["classes"]}
explained = tool["explained"] / tool["rss"]
sys.exit(not eval(sys.argv[1]))
PYTHON
}
# The tool's figures against those of a `heap known`; $1: those of grace periods too.
compare() {
	judge 'len(tool["allocators"]) == 1 and a["torn"] == 0 and a["doubts"] == 0'
	judge 'all(c["objects"] == sum(c[p] for p in places) for c in a["classes"])'
	judge 'all((of_size[s["size"]]["live"], of_size[s["size"]]["waiting"]) == (s["live"], s["waiting"]) for s in said["sizes"] if s["size"] <= 262144)'
	judge '[(c["size"], c["live"]) for c in a["classes"] if c.get("cache") == "routes"] == [(72, 700)]'
	judge 'sum(c["live"] for c in a["classes"]) == 700 + sum(s["live"] for s in said["sizes"] if s["size"] <= 262144)'
	judge 'a["large"]["live"] == sum(s["live"] for s in said["sizes"] if s["size"] > 262144)'
	judge 'a["large"]["waiting"] == sum(s["waiting"] for s in said["sizes"] if s["size"] > 262144)'
	judge 'a["large"]["bytes"] == said["live_large"] == sum(s["size"] * (s["live"] + s["waiting"]) for s in said["sizes"] if s["size"] > 262144)'
	judge 'a["slabs"] == said["slabs"] and len(a["heaps"]) == said["heaps"]'
	judge 'total("live") + total("waiting") + said["live_large"] == said["live"]'
	judge 'total("free") + total("remote") == said["slab_free"] and total("remote") > 0'
	judge 'total("magazines") + total("ready") == said["magazines"] == sum(h["magazine_bytes"] for h in a["heaps"])'
	judge 'a["span_cache"]["bytes"] == said["span_cache"] and a["region_bytes"] >= said["region_bytes"]'
	judge 'a["grace"]["waiting"] == said["waiting"] == sum(s["waiting"] for s in said["sizes"])'
	judge 'a["grace"]["waiting_bytes"] == said["waiting_bytes"]'
	judge 'a["grace"]["waiting_chained"] == sum(s["chained"] for s in said["sizes"])'
	judge '(a["grace"]["retired"], a["grace"]["reclaimed"]) == (said["retired"], said["reclaimed"])'
	judge 'a["grace"]["started"] == a["grace"]["completed"] + 1'
}

# ---- exactly known ----------------------------------------------------------------------------------------------
launch "$build/tests/heap" known
look stat --format json "$process"
compare
judge 'tool["pid"] == a["own_pid"] and tool["live"] and tool["command"] == "heap"'
judge '[r["holds_up"] for r in a["grace"]["readers"]] == [True] and a["grace"]["age_seconds"] > 0.5'
judge '0.95 <= explained <= 1.02'
look check --count 20 "$process"
grep -q ' no violation$' out || fail "check: $(cat out)"
look stat "$process"
grep -q 'held up by the reader in thread' out && grep -q 'explained' out || fail "table: $(cat out)"
look stat --format csv "$process"
[ "$(awk -F, 'NR == 1 {n = NF} NF != n {print "bad"}' out)" = "" ] && [ "$(wc -l <out)" -gt 6 ] || fail "csv: $(cat out)"
awk -F, 'NR > 1 && $7 != $8 + $9 + $10 + $11 + $12 + $13 {exit 1}' out || fail "csv: sums: $(cat out)"
look stat --format prometheus "$process"
grep -q '^qslab_objects{pid="'"$process"'",allocator="0",class="1",size="16",place="live"} [1-9][0-9]*$' out || fail "prometheus: $(cat out)"
for name in rss explained rss_moved; do
	grep -q '^qslab_'$name'_bytes{pid="'"$process"'"} [0-9]*$' out || fail "prometheus: no $name: $(cat out)"
done
[ -z "$(grep -vE '^# (HELP|TYPE) qslab_|^qslab_[a-z_]+\{[^ ]*\} [0-9.]+$' out)" ] || fail "prometheus: $(cat out)"
stop

# In the debug mode what was freed is not live: it is in the quarantine, that of large objects too.
launch env QSLAB_RCU_DEBUG=1 "$build/tests/heap" known
look stat --format json "$process"
judge 'a["torn"] == 0 and a["doubts"] == 0'
judge 'all((of_size[s["size"]]["live"], of_size[s["size"]]["waiting"]) == (s["live"], s["waiting"]) for s in said["sizes"] if s["size"] <= 262144)'
judge 'a["large"]["live"] == sum(s["live"] for s in said["sizes"] if s["size"] > 262144)'
judge 'a["large"]["waiting"] == sum(s["waiting"] for s in said["sizes"] if s["size"] > 262144)'
judge 'total("magazines") > 0 and a["large"]["magazines"] > 0'
look check --count 20 "$process"
grep -q ' no violation$' out || fail "check: $(cat out)"
look map "$process"
look why "$process"
grep -q ' in magazines or in quarantine  *malloc_trim' out || fail "why, debug mode: $(cat out)"
stop

# ---- a core file ----------------------------------------------------------------------------------------------------
# The kernel's, if it writes files where we may; else gdb's.
pattern=$(cat /proc/sys/kernel/core_pattern)
core=
if [[ $pattern != '|'* && ! ${pattern//%p/} =~ % ]]; then
	(ulimit -c unlimited 2>/dev/null && exec "$build/tests/heap" dies) >said 2>>"$work/stderr" </dev/null &
	process=$!
	wait "$process"
	for file in "${pattern//%p/$process}" "$pattern.$process" "$pattern"; do
		[ -s "$file" ] && core=$(readlink -f "$file") && break
	done
fi
if [ -z "$core" ] && command -v gcore >/dev/null; then
	launch "$build/tests/heap" known
	timeout 100 gcore -o core "$process" >gcore.out 2>&1 && core=core.$process
	stop
fi
if [ -n "$core" ]; then
	look core --format json "$core"
	compare
	judge 'tool["pid"] == a["own_pid"] and not tool["live"] and a["grace"]["age_seconds"] is None'
	judge '0.95 <= explained <= 1.02'
	judge 'tool["command"] == "heap"'
	size=$(stat -c %s "$core")
	head -c $((size - 1)) "$core" >cut
	timeout 60 "$tool" core cut >out 2>err || fail "a core file without its last byte: $(cat err)"
	[ "$(wc -l <err)" -eq 1 ] && grep -q '^qslab: cut: was cut short' err && grep -q '^cut (heap): qslab ' out ||
		fail "a core file without its last byte: $(cat out err)"
	head -c 1000000 "$core" >cut
	# each pointer of what is published, in turn, names an address where nothing is
	$python - "$core" >pointers <<'PYTHON'
import struct, sys
core = open(sys.argv[1], "rb").read()
at = core.find(b"QSLBSEGM")
while at % 4096:
    at = core.find(b"QSLBSEGM", at + 1)
size = struct.unpack_from("<I", core, at + 12)[0]
print(*(place for place in range(at + 16, at + size, 8) if struct.unpack_from("<Q", core, place)[0] >> 32 > 255))
PYTHON
	cp "$core" hurt
	: >all
	for place in $(<pointers); do
		printf '\0\20\0\0\0\0\0\0' | dd of=hurt bs=1 seek="$place" conv=notrunc status=none
		timeout 60 "$tool" core hurt >out 2>err
		status=$?
		[ $status -le 1 ] && [ "$(wc -l <err)" -le 1 ] && [ $((status + $(wc -l <out) > 0)) -eq 1 ] || fail "a wound at $place: $status: $(cat err)"
		cat err >>all
		dd if="$core" of=hurt bs=1 skip="$place" seek="$place" count=8 conv=notrunc status=none
	done
	grep -qx 'qslab: hurt: is damaged: something that qslab names is not in it' all && ! grep -q ended all ||
		fail "a damaged core file: $(sort all | uniq -c)"
	[[ $core == "$work"/* || $core == core.* ]] || rm -f "$core"
	timeout 60 "$tool" core cut >out 2>err
	[ $? -eq 1 ] && [ "$(wc -l <err)" -eq 1 ] && grep -q '^qslab: cut: was cut short' err ||
		fail "a core file that was cut off: $(cat out err)"
else
	echo "note: no core file could be had"
fi

# ---- a core file that lies: a note of nearly 4 GiB in a file of 156 bytes ---------------------------------------------------
python3 - >lies <<'PYTHON'
import struct, sys
note = struct.pack("<3I", 5, 0xffffffff, 0x46494c45) + b"CORE\0\0\0\0" + struct.pack("<QQ", 1000000, 4096)
header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
sys.stdout.buffer.write(header + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(note), 0, 4) + note)
PYTHON
for command in core map why; do
	timeout 60 "$tool" $command lies >out 2>err
	[ $? -eq 1 ] && [ "$(cat err)" = "qslab: lies: does not run on qslab" ] || fail "$command of a core file that lies: $(cat out err)"
done

# ---- at least 95 % explained ------------------------------------------------------------------------------------------
launch "$build/tests/heap" fragmented
look stat --format json "$process"
judge '0.95 <= explained <= 1.02 and tool["resident"]["free"] > 0.5 * tool["rss"]'
look check "$process"
stop
loads "$python"
launch env LD_PRELOAD="$library" "$python" -c '
import sys
kept = [str(i) * 3 for i in range(300000)]
table = {i: [i] * (i % 50) for i in range(100000)}
del kept[::3]
print("{}", flush=True)
sys.stdin.read()'
look stat --format json "$process"
judge '0.95 <= explained <= 1.02 and tool["command"].startswith("python3")'
look check "$process"
stop
if command -v redis-server redis-cli redis-benchmark >/dev/null; then
	port=$(free_port)
	serve redis-server --port "$port" --bind 127.0.0.1 --dir "$work" --save ''
	for _ in $(seq 100); do [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] && break; sleep 0.1; done
	timeout 100 redis-benchmark -p "$port" -q -n 100000 -r 100000 -P 16 -t set,lpush,sadd,hset -d 200 >/dev/null 2>&1 ||
		fail "redis-benchmark"
	echo '{}' >said
	look stat --format json "$server"
	judge '0.95 <= explained <= 1.02 and tool["rss"] > 20e6 and tool["command"] == "redis-server"'
	look check "$server"
	end_server
else
	echo "note: no redis-server"
fi

# ---- under load: a hundred readings without one wrong identity; a thousand with QSLAB_SOAK -----------------------------
launch nice -n 5 "$build/tests/heap" load # it takes all cores; the tool must get some of one
readings=0
wanted=${QSLAB_SOAK:+1000}
wanted=${wanted:-100}
while [ $readings -lt $wanted ] && [ $SECONDS -lt 1200 ]; do
	timeout 300 "$tool" check --count 50 "$process" >out 2>err || fail "under load: $(head out err)"
	grep -q ': 50 readings' out || fail "under load: $(cat out)"
	readings=$((readings + 50))
done
[ $readings -eq $wanted ] || echo "note: only $readings readings in the time"
timeout 60 "$tool" stat --format json "$process" >out || fail "stat under load"
judge 'all(c["objects"] == sum(c[p] for p in places) for c in a["classes"]) and explained > 0.9'
stop

# lists that change faster than all slabs can be read: neighbours are judged at one moment
start replacing
look check --count 200 "$process"
stop

# ---- what is false is found ----------------------------------------------------------------------------------------------
for what in count bit map magazine list; do
	launch "$build/tests/heap" wrong-$what
	timeout 60 "$tool" check "$process" >out 2>err
	[ $? -eq 1 ] && [ -s out ] && [ ! -s err ] || fail "wrong-$what: not found: $(cat out err)"
	grep -vq "^process $process: " out && fail "wrong-$what: $(cat out)"
	stop
done

# ---- errors ---------------------------------------------------------------------------------------------------------------
for command in stat check; do
	wants 2 "$command: no process given" $command
	wants 2 "$command: unknown option --nonsense" $command --nonsense 1
	wants 2 "$command: superfluous argument 2" $command 1 2
	for number in 0 1x 99999999999 ''; do
		wants 2 "$command: not a process's number: $number" $command "$number"
	done
	wants 1 "process 2147483647: no such process" $command 2147483647
done
wants 2 "stat: --format is table, json, csv or prometheus, not xml" stat --format xml 1
wants 2 "stat: --format needs a value" stat --format
wants 2 "stat: --watch needs seconds, 0.01 or more, not 0" stat --watch 0 1
wants 2 "stat: --watch needs seconds, 0.01 or more, not -1" stat --watch -1 1
wants 2 "check: --count needs a number from 1 to 1000000000, not 0" check --count 0 1
wants 1 "process 2147483647: no such process" stat --format=json -- 2147483647
wants 2 "core: no core file given" core
wants 2 "core: unknown option --watch" core --watch 1 x
wants 1 "/nonexistent: No such file or directory" core /nonexistent
wants 1 "$work: not a core file" core "$work"
wants 1 "$tool: not a core file" core "$tool"
: >empty
wants 1 "empty: not a core file" core empty

sleep 100 & children+=($!)
wants 1 "process $!: does not run on qslab" stat $!
: >said
launch "$build/tests/heap" wrong-version
version=$(sed -n 's/^#define QSLAB_SEGMENT_VERSION //p' "$header")
wants 1 "process $process: runs a qslab that publishes version 99; this tool reads version $version" stat "$process"
stop
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	launch "$build/tests/heap" fragmented
	chmod 755 "$work"
	cp "$tool" tool && chmod 755 tool
	setpriv --reuid 65534 --regid 65534 --clear-groups "$work/tool" stat "$process" >out 2>err
	[ $? -eq 1 ] && grep -qx "qslab: process $process: no permission to read its memory (be its user, or root)" err ||
		fail "without permission: $(cat out err)"
	stop
fi
# ended between two readings
launch "$build/tests/heap" fragmented
timeout 60 "$tool" stat --format json --watch 0.05 "$process" >out 2>err 9>&- & watcher=$!
for _ in $(seq 100); do [ -s out ] && break; sleep 0.05; done
stop
wait $watcher
[ $? -eq 1 ] && [ "$(cat err)" = "qslab: process $process: ended while it was read" ] || fail "ended: $(cat err)"
timeout 60 "$tool" stat --watch 1 $$ 2>err && fail "watching a shell"
"$tool" stat $$ >/dev/full 2>/dev/null && fail "stat of a shell"
finish
