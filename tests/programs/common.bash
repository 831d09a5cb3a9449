# Sourced by every script here, which runs as: bash NAME.sh BUILD_DIR. QSLAB_LIBRARY names another library.
# Gives $library, $work (a folder that goes away at the end) and the functions below. Every command has a time
# limit ($limit seconds), the network is 127.0.0.1 only, and children that stay are killed at the end.
set -u
limit=${QSLAB_TEST_LIMIT:-100}

fail() {
	echo "FAILED: $*"
	grep -a '^qslab:' "$work/stderr" | head -5
	tail -n 5 "$work/stderr"
	exit 1
}
skip() { echo "skipped: $*"; exit 77; }
need() { command -v "$1" >/dev/null || skip "no $1"; }

# The program's own loader maps the library: LD_PRELOAD is not dropped (static, setuid) nor refused.
loads() {
	LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=$library "$(command -v "$1")" 2>&1 | grep -qF "$library" ||
		fail "$1 does not load $library"
}
# Runs CMD... over the library; its stderr is kept for `finish`.
preloaded() {
	loads "$1"
	timeout -k 5 "$limit" env LD_PRELOAD="$library" "$@" 2>>"$work/stderr"
}
plain() { timeout -k 5 "$limit" "$@" 2>/dev/null; }
# Starts a server over the library; $server is its process id.
serve() {
	env LD_PRELOAD="$library" "$@" >"$work/server.out" 2>>"$work/stderr" &
	server=$!
	children+=("$server")
}
check_mapped() { grep -qF "$library" "/proc/$1/maps" || fail "process $1 does not run over the library"; }
# Asks a server to end and expects that it ends well.
end_server() {
	kill "$server" 2>/dev/null
	for _ in $(seq 300); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
	kill -9 "$server" 2>/dev/null
	wait "$server"; local status=$?
	[ $status -eq 0 ] || fail "the server ended with status $status"
}
free_port() { /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# The same NAME: $work/NAME.plain and $work/NAME.preloaded are equal, and not empty.
same() {
	[ -s "$work/$1.plain" ] || fail "$1: no result without the library"
	cmp "$work/$1.plain" "$work/$1.preloaded" || fail "$1: another result than without the library"
}
finish() {
	grep -aq '^qslab:' "$work/stderr" && fail "the library reported misuse"
	grep -aq 'cannot be preloaded' "$work/stderr" && fail "a program ran without the library"
	echo "passed"
}

library=$(readlink -f "${QSLAB_LIBRARY:-${1:?usage: bash NAME.sh BUILD_DIR}/lib/libqslab-malloc.so}")
[ -r "$library" ] || { echo "FAILED: no library at $library"; exit 1; }
work=$(mktemp -d)
: >"$work/stderr"
children=()
clean() {
	local child
	for child in "${children[@]}"; do kill -9 "$child"; done 2>/dev/null
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM
