#!/usr/bin/env bash
# explore_catches.sh EXPLORE: each bug that is planted must be found, and found again by the seed that is named.
failed=0
catches() { # BUG TEST SAYING [OPTION...]
	local said again
	said=$(timeout 100 "$explore" --test "$2" --plant "$1" "${@:4}" 2>&1)
	again=$(sed -n 's/.*FAILED.*: explore \(--test.*\)/\1/p' <<<"$said")
	if [[ $said == *"$3"* && -n $again ]] && timeout 60 "$explore" $again 2>&1 | grep -q "$3"; then
		echo "ok      $again"
	else
		echo "FAILED  $1: not caught, or not again: $said"
		failed=1
	fi
}
explore=$1
catches collect remote "on its notify list"
catches look remote "a slab is left lying"
catches inherit move "on its notify list"
catches put move "a slab is left lying" --depth 7 --count 20000
catches gate fork "a thread in the span source"
catches barrier barrier "stats.reclaimed >= before"
catches cookie exchange "freed too early"
exit $failed
