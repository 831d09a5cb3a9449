#!/usr/bin/env bash
# tests/fuzz/fuzz.sh BUILD [SECONDS]: both fuzz targets, over libFuzzer where clang has it, else over our own engine.
# 30 seconds, so a minute of fuzzing; with QSLAB_SOAK 600. The library's modes take a part of it each.
set -u
build=$(cd "${1:?usage: fuzz.sh BUILD [SECONDS]}" && pwd) || exit 1
here=$(cd "$(dirname "$0")" && pwd)
seconds=${2:-$([ -n "${QSLAB_SOAK:-}" ] && echo 600 || echo 30)}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
kept=${FUZZ_KEEP:-$build/fuzz-found} # what fails, to be run again
mkdir -p "$kept" "$work/calls" "$work/reader"

programs=$build/tests
engine=own
clang=$(command -v clang-14 || command -v clang) || clang=
if [ -n "$clang" ] && echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 99; }' |
	"$clang" -fsanitize=fuzzer,address,undefined -x c - -o "$work/probe" 2>/dev/null; then
	cmake -S "$here/../.." -B "$build/fuzz" -G Ninja -DCMAKE_C_COMPILER="$clang" -DCMAKE_BUILD_TYPE=Release \
		-DQSLAB_FUZZER=ON >"$work/log" 2>&1 &&
		cmake --build "$build/fuzz" --target fuzz_calls fuzz_reader >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
	programs=$build/fuzz/tests
	engine=libFuzzer
fi
QSLAB_PROFILE=4K "$build/tests/fuzz_core" "$work/core" || { echo "fuzz: no core file was made" >&2; exit 1; }
export FUZZ_CORE=$work/core

# run NAME TARGET SECONDS [VARIABLE=VALUE...]: the corpus, then new inputs. Says what failed.
run() {
	local name=$1 target=$2 time=$3 status
	shift 3
	if [ $engine = libFuzzer ]; then
		env "$@" "$programs/fuzz_$target" -max_total_time="$time" -timeout=60 -rss_limit_mb=3000 -malloc_limit_mb=2000 \
			-artifact_prefix="$kept/$name-" "$work/$target" "$here/corpus/$target" >"$work/$name.log" 2>&1
	else
		env "$@" "$programs/fuzz_$target" "$here/corpus/$target" --seconds "$time" >"$work/$name.log" 2>&1
	fi
	status=$?
	if [ $status -ne 0 ]; then
		echo "fuzz: $target, $name: status $status; what failed is in $kept"
		tail -n 60 "$work/$name.log"
	else
		echo "fuzz: $target, $name, $engine: $(grep -aE '^Done|^fuzz: [0-9]+ inputs' "$work/$name.log" | tail -n 1)"
	fi
	return $status
}

failed=0
run reader reader "$seconds" A=b &
reader=$!
quarter=$(((seconds + 3) / 4))
run plain calls $quarter A=b || failed=1
run harden calls $quarter QSLAB_OPTIONS=harden || failed=1
run debug calls $quarter QSLAB_RCU_DEBUG=1 || failed=1
run profile calls $quarter QSLAB_PROFILE=64K || failed=1
wait $reader || failed=1
exit $failed
