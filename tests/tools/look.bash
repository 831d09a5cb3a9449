# Sourced by the scripts that look at a running process: after common.bash, which it sources.
. "$(dirname "$0")/../programs/common.bash"
root=$(readlink -f "$(dirname "$0")/../..")
build=$(readlink -f "$1")
tool=$build/bin/qslab
python=/usr/bin/python3
need $python
unset LD_PRELOAD NO_COLOR
cd "$work" || exit 1

# launch WORD...: runs it until `stop`. $process is its number, $work/said what it said first.
launch() {
	rm -f input said && mkfifo input
	"$@" <input >said 2>>"$work/stderr" &
	process=$!
	children+=("$process")
	exec 9>input
	for _ in $(seq 600); do [ -s said ] && return; kill -0 "$process" 2>/dev/null || break; sleep 0.1; done
	fail "$*: did not start"
}
# start MODE: the same for a patient of tests/tools/patient.c.
start() { launch "$build/tests/patient" "$1"; }
stop() {
	exec 9>&-
	wait "$process" || fail "it ended with status $?"
}
# dump: the patient's core file is $core; false if none can be had.
dump() {
	command -v gcore >/dev/null || { echo "note: no gcore: nothing was looked at in a core file"; return 1; }
	timeout 100 gcore -o core "$process" >gcore.out 2>&1 || fail "gcore: $(tail -3 gcore.out)"
	core=core.$process
}
# look ARGUMENT...: runs the tool, which must succeed, and say nothing on stderr; its stdout is $work/out.
look() {
	timeout 60 "$tool" "$@" >out 2>err </dev/null || fail "qslab $*: status $?: $(cat err)"
	[ ! -s err ] || fail "qslab $*: stderr: $(cat err)"
}
# says PATTERN: `out` has a line that the extended regular expression matches.
says() { grep -qE -- "$1" out || fail "no line '$1' in: $(head -50 out)"; }
says_not() { ! grep -qE -- "$1" out || fail "a line '$1' in: $(head -50 out)"; }
said() { "$python" -c 'import json, sys; print(json.load(open("said"))[sys.argv[1]])' "$1"; }
# judge CODE: Python, with said; it asserts.
judge() { "$python" - <<<"import json, re; said = json.load(open('said')); out = open('out').read()
$1" || fail "see above: $(head -50 out)"; }
# wants STATUS TEXT ARGUMENT...: one line on stderr that begins so.
wants() {
	local status=$1 text=$2 got
	shift 2
	timeout 60 "$tool" "$@" >out 2>err </dev/null
	got=$?
	[ $got -eq "$status" ] && [ "$(wc -l <err)" -eq 1 ] && [[ $(cat err) == "qslab: $text"* ]] && [ ! -s out ] ||
		fail "qslab $*: status $got instead of $status, stdout, or not one line 'qslab: $text': $(cat err out)"
}
