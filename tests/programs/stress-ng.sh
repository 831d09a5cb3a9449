# stress-ng's allocating stressors for 20 seconds, verifying what they wrote; at most some gigabytes in all.
. "$(dirname "$0")/common.bash"
need stress-ng
cd "$work" || exit 1
stress() {
	limit=60 preloaded stress-ng --temp-path "$work" --verify --metrics-brief "$@" >"$work/out"
	local status=$?
	cat "$work/out" >>"$work/stderr"
	[ $status -eq 0 ] || { tail -n 20 "$work/stderr"; fail "status $status: stress-ng $*"; }
}
stress --malloc 2 --malloc-bytes 16M --malloc-max 500 --malloc-pthreads 4 -t 5
stress --malloc 2 --malloc-bytes 2K --malloc-max 20000 --malloc-touch --malloc-zerofree -t 3
stress --malloc 1 --malloc-bytes 1M --malloc-max 200 --malloc-pthreads 2 --fork 1 -t 3
stress --bigheap 1 --bigheap-growth 1M --bigheap-ops 1000 -t 3
stress --memthrash 2 -t 3
stress --tree 1 --list 1 --judy 1 -t 3
grep -aqE 'fail: |error: ' "$work/stderr" && fail "stress-ng reported a failure"
finish
