# QSLAB_ variables: unknown names and bad values are one line each, good ones none, and all are harmless.
. "$(dirname "$0")/../programs/common.bash"
unset "${!QSLAB_@}"

# says VARIABLE=VALUE WHY: the program's stderr is one line that names both.
says() {
	env "$1" LD_PRELOAD="$library" cat /proc/self/maps >"$work/out" 2>"$work/err" || fail "$1: exit status $?"
	grep -q "$(basename "$library")" "$work/out" || fail "$1: not loaded"
	local shown=${1%%$'\n'*}
	[ "$(cat "$work/err")" = "qslab: environment ${shown:0:160}: $2" ] || fail "$1: stderr: $(cat "$work/err")"
}
silent() {
	env "$@" LD_PRELOAD="$library" true 2>"$work/err" || fail "$*: exit status $?"
	[ ! -s "$work/err" ] || fail "$*: stderr: $(cat "$work/err")"
}

for name in QSLAB_ QSLAB_NONSENSE QSLAB_STAT QSLAB_STATSX QSLAB_RETAINX QSLAB_stats; do
	says $name=1 "unknown option, ignored"
	says $name= "unknown option, ignored"
done
for value in '' 2 01 on true -1 ' 1' '1 '; do
	says "QSLAB_STATS=$value" "bad value, ignored"
done
for value in '' -1 ' -5' +5 ' 5' x 5X 5KB 5k 1.5G 0x10 '5 ' K 18446744073709551616 99999999999G 17179869184G; do
	says "QSLAB_RETAIN=$value" "bad value, ignored"
done
says $'QSLAB_NONSENSE=1\nqslab: a second line' "unknown option, ignored"
says "QSLAB_NONSENSE=$(printf %01000d 7)" "unknown option, ignored"

silent QSLAB_STATS=0
for value in 0 5 5K 64M 2G 18446744073709551615 17179869183G; do
	silent QSLAB_RETAIN=$value
done
for value in 0 1 64K 4M; do
	silent QSLAB_PROFILE=$value
done
for value in '' -1 on 4MB; do
	says "QSLAB_PROFILE=$value" "bad value, ignored"
done
# several in one; each is reported as it would be alone
for value in '' , harden harden=1 harden,stats=0 retain=16M,,rcu_soft=1K, harden=0,rcu_sample=10; do
	silent "QSLAB_OPTIONS=$value"
done
in_list() {
	env "QSLAB_OPTIONS=$1" LD_PRELOAD="$library" true 2>"$work/err" || fail "$1: exit status $?"
	[ "$(cat "$work/err")" = "$(printf 'qslab: environment %s\n' "${@:2}")" ] || fail "$1: stderr: $(cat "$work/err")"
}
in_list HARDEN "HARDEN: unknown option, ignored"
in_list harden,nonsense=3,retain=x "nonsense=3: unknown option, ignored" "retain=x: bad value, ignored"
in_list harden=2,QSLAB_STATS=1,hard "harden=2: bad value, ignored" "QSLAB_STATS=1: unknown option, ignored" \
	"hard: unknown option, ignored"
env QSLAB_OPTIONS=harden,profile=1M QSLAB_RCU_DEBUG=1 LD_PRELOAD="$library" true 2>"$work/err"
[ "$(grep -c '^qslab: QSLAB_[A-Z_]* is ignored in the hardened mode$' "$work/err")" = 2 ] || fail "$(cat "$work/err")"
silent QSLAB_SOAK=1 QSLAB_LIBRARY=/nonexistent QSLABX=1 XQSLAB_STATS=2 QSLAB=1

# each is reported, and a bad value leaves the default
env QSLAB_STATS=yes QSLAB_RETAIN=lots QSLAB_MORE=1 LD_PRELOAD="$library" true 2>"$work/err"
[ "$(grep -c '^qslab: environment' "$work/err")" -eq 3 ] && [ "$(wc -l <"$work/err")" -eq 3 ] ||
	fail "three wrong ones: $(cat "$work/err")"
env QSLAB_STATS=1 LD_PRELOAD="$library" true 2>"$work/err"
[ "$(grep -c '^qslab: memory of process' "$work/err")" -eq 1 ] || fail "QSLAB_STATS=1: $(cat "$work/err")"
finish
