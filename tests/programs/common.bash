# Sourced by every script here: NAME.sh BUILD_DIR. Sets $library, $work, and:
#   preloaded CMD...   runs it over the library, its stderr kept in $work/stderr
#   same NAME          fails unless $work/NAME.plain and $work/NAME.preloaded are equal
#   finish             fails if the library reported anything, else says passed
set -u
library=${QSLAB_LIBRARY:-$1/lib/libqslab-malloc.so}
library=$(readlink -f "$library")
[ -r "$library" ] || { echo "no library at $library"; exit 1; }
work=$(mktemp -d)
children=()
trap 'for child in "${children[@]:-}"; do [ -n "$child" ] && kill "$child" 2>/dev/null; done; wait 2>/dev/null; rm -rf "$work"' EXIT
: >"$work/stderr"

fail() { echo "FAILED: $*"; grep -a '^qslab:' "$work/stderr" | head -5; exit 1; }
need() { command -v "$1" >/dev/null || { echo "skipped: no $1"; exit 77; }; }
preloaded() { env LD_PRELOAD="$library" "$@" 2>>"$work/stderr"; }
same() { cmp "$work/$1.plain" "$work/$1.preloaded" || fail "$1: another result than without the library"; }
check_mapped() { grep -q "$(basename "$library")" "/proc/$1/maps" || fail "not loaded into process $1"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
finish() {
	grep -aq '^qslab:' "$work/stderr" && fail "the library reported misuse"
	echo "passed"
}
