# Programs built with a sanitizer run over the preload library, and their sanitizer still finds what it is there for.
. "$(dirname "$0")/../programs/common.bash"
program=$(readlink -f "$(dirname "$0")")/sanitized.c
clang=$(command -v clang-19 || command -v clang) || skip "no clang"
no_aslr=()
setarch -R true 2>/dev/null && no_aslr=(setarch -R) # old runtimes do not start where the kernel places mappings at random by more bits
export TSAN_OPTIONS="atexit_sleep_ms=50" ASAN_OPTIONS=detect_leaks=0 # leaks are looked for by ptrace, which a sandbox may refuse

attack() { # SANITIZER FAULT TEXT [COMPILER OPTION...]
	local sanitizer=$1 fault=$2 text=$3 binary=$work/$1 status
	"${@:4}" -g -O1 -pthread -fsanitize="$sanitizer" "$program" -o "$binary" 2>"$work/why" ||
		{ echo "note: no $sanitizer: $(head -1 "$work/why")"; return; }
	[ "$(plain "${no_aslr[@]}" "$binary")" = "handed over" ] || { echo "note: $sanitizer does not run here"; return; }
	loads "$binary"
	[ "$(timeout "$limit" "${no_aslr[@]}" env LD_PRELOAD="$library" "$binary" 2>"$work/err")" = "handed over" ] ||
		fail "$sanitizer over the library: $(head -5 "$work/err")"
	timeout "$limit" "${no_aslr[@]}" env LD_PRELOAD="$library" "$binary" "$fault" >"$work/out" 2>"$work/err"
	status=$?
	[ $status -gt 0 ] && [ $status -lt 124 ] && grep -q "$text" "$work/err" ||
		fail "$sanitizer over the library does not find $fault: status $status: $(head -5 "$work/err")"
	echo "$sanitizer: well"
	ran=$((ran + 1))
}
ran=0
attack thread race 'WARNING: ThreadSanitizer: data race' "$clang"
attack memory unset 'WARNING: MemorySanitizer: use-of-uninitialized-value' "$clang"
attack address overflow 'ERROR: AddressSanitizer: heap-buffer-overflow' "$clang"
[ $ran -gt 0 ] || skip "no sanitizer runs here"
finish
