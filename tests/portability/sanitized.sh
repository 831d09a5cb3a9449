# Programs built with a sanitizer run over the preload library, and their sanitizer still finds what it is there for.
. "$(dirname "$0")/../programs/common.bash"
program=$(readlink -f "$(dirname "$0")")/sanitized.c
clang=$(command -v clang-19 || command -v clang) || skip "no clang"
no_aslr=()
setarch -R true 2>/dev/null && no_aslr=(setarch -R) # old runtimes do not start where the kernel places mappings at random by more bits
export TSAN_OPTIONS="atexit_sleep_ms=50" ASAN_OPTIONS=detect_leaks=0 # leaks are looked for by ptrace, which a sandbox may refuse

attack() { # SANITIZER FAULT TEXT
	local sanitizer=$1 fault=$2 text=$3 binary=$work/$1 status
	"$clang" -g -O1 -pthread -fsanitize="$sanitizer" "$program" -o "$binary" 2>"$work/why" ||
		{ echo "note: no $sanitizer: $(head -1 "$work/why")"; return; }
	[ "$(plain "${no_aslr[@]}" "$binary")" = "handed over" ] || { echo "note: $sanitizer does not run here"; return; }
	loads "$binary"
	[ "$(preloaded "${no_aslr[@]}" "$binary")" = "handed over" ] || fail "$sanitizer over the library"
	preloaded "${no_aslr[@]}" "$binary" "$fault" >"$work/out"
	status=$?
	[ $status -gt 0 ] && [ $status -lt 124 ] && grep -q "$text" "$work/stderr" ||
		fail "$sanitizer over the library does not find $fault: status $status"
	echo "$sanitizer: well"
	ran=$((ran + 1))
}
ran=0
attack thread race 'WARNING: ThreadSanitizer: data race'
attack memory unset 'WARNING: MemorySanitizer: use-of-uninitialized-value'
attack address overflow 'ERROR: AddressSanitizer: heap-buffer-overflow'
[ $ran -gt 0 ] || skip "no sanitizer runs here"
finish
