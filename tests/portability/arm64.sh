#!/usr/bin/env bash
# tests/portability/arm64.sh: builds for arm64 with Debian's cross compiler, into build-arm64, and runs what shows
# mistakes of memory order, and the preload library, under qemu. Stands in tools/check: it is its own build.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=$PWD/build-arm64
libraries=$build/sysroot/usr/lib/aarch64-linux-gnu
programs=(basic_test free_rcu_test hold_test torture preload_family preload_symbols)

fail() { echo "arm64: $*" >&2; exit 1; }

tools/arm64-sysroot "$build/sysroot" || fail "Debian's arm64 libraries cannot be had"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{ cmake --preset arm64 -G Ninja && cmake --build --preset arm64 -j2 --target qslab qslab-tool qslab-malloc "${programs[@]}"; } \
	>"$work/build" 2>&1 || { cat "$work/build"; fail "it does not build"; }

# A process group of its own, which is killed whole. (qemu 7.2 gives up in processes that fork while they have many threads.)
emulated() {
	local output=$work/$1.$BASHPID
	timeout -s KILL 60 qemu-aarch64 ${page:+-p $page} -L /usr/aarch64-linux-gnu \
		-E "LD_LIBRARY_PATH=$libraries" ${preload:+-E LD_PRELOAD=$preload} \
		"$build/tests/$1" "${@:2}" >"$output" 2>&1 </dev/null && { tail -n 1 "$output"; return 0; }
	tail -n 20 "$output"
	echo "arm64: failed: $*"
	return 1
}
first() {
	emulated free_rcu_test && emulated torture --no-forks --flavor memb --seconds 4 &&
		emulated torture --no-forks --flavor bp --seconds 4
}
second() {
	emulated basic_test && page=65536 emulated basic_test && emulated torture --no-forks --flavor mb --seconds 4 &&
		emulated torture --no-forks --flavor qsbr --seconds 4 && emulated hold_test &&
		preload=$build/lib/libqslab-malloc.so emulated preload_family && preload=$build/lib/libqslab-malloc.so emulated preload_symbols
}
first &
second
status=$?
wait $! && [ $status -eq 0 ] || fail "see above"
echo "arm64: passed"
