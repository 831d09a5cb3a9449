# A program that gets rights its caller has not (set-group-ID) reads no QSLAB_ variable: none acts, none is reported.
. "$(dirname "$0")/../programs/common.bash"
unset "${!QSLAB_@}"
program=$work/program
cp "$1/tests/example_config" "$program" || fail "no example_config"

# secure FILE: a group of ours that is not the first, so that running it changes the group.
secure() {
	local group
	for group in $([ "$(id -u)" -ne 0 ] || echo 65534) $(id -G); do
		[ "$group" != "$(id -g)" ] && chgrp "$group" "$1" && chmod g+s "$1" && return
	done
	skip "no second group"
}
# run VARIABLE=VALUE...: the program's stderr is in $work/err.
run() {
	timeout -k 5 "$limit" env "$@" "$program" >"$work/out" 2>"$work/err" || fail "$*: exit status $?"
}

run QSLAB_STATS=1 QSLAB_NONSENSE=1 QSLAB_OPTIONS=harden,nonsense
[ "$(grep -c ': unknown option, ignored$' "$work/err")" = 2 ] || fail "not set-group-ID: $(cat "$work/err")"
grep -q '^qslab: memory of process' "$work/err" || fail "not set-group-ID: no table"

chmod 755 "$work" "$program"
cp "$(type -P true)" "$work/true"
secure "$work/true"
secure "$program"
LD_DEBUG=files "$work/true" 2>"$work/err" || fail "set-group-ID true: exit status $?"
[ ! -s "$work/err" ] || skip "set-group-ID has no effect here" # the loader, too, looks at AT_SECURE

run QSLAB_STATS=1 QSLAB_NONSENSE=1 QSLAB_OPTIONS=harden,nonsense
[ ! -s "$work/err" ] || fail "set-group-ID: $(cat "$work/err")"
finish
