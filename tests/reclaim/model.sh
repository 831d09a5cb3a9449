# The protocol of deferred free, model-checked: reclaim/model/reclaim.pml as it should be, in every interleaving, then
# with one line taken away at a time: spin must find the error each time, and of the kind named here.
# Runs as: bash model.sh. 77: spin or gcc is missing. One check at a time, below 1 GB each.
set -u
model=$(cd "$(dirname "$0")/../.." && pwd)/reclaim/model/reclaim.pml
for tool in spin gcc cpp; do
	command -v $tool >/dev/null || { echo "skipped: no $tool"; exit 77; }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

# search OPTIONS SEARCH FLAGS...: compiles the model with FLAGS, the checker with OPTIONS; its words are in ./result.
search() {
	local options=$1 how=$2
	shift 2
	{ timeout 20 spin -a "$@" "$model" &&
		timeout 60 gcc -O1 -w -DCOLLAPSE -DMEMLIM=1000 $options -o pan pan.c &&
		timeout 120 ./pan -m100000 $how; } >result 2>&1
}
summary() {
	echo "$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1 states/p; s/pan: elapsed time //p' result | paste -sd' ')"
}

# sound NAME FLAGS...: every state is visited, none breaks a claim.
sound() {
	local name=$1
	shift
	search -DSAFETY "" "$@"
	report "$name"
}
# ends NAME FLAGS...: no run is infinite (every cycle would be one without progress: the model names none).
ends() {
	local name=$1
	shift
	search -DNP -l "$@"
	report "$name ends"
}
report() {
	if grep -q 'errors: 0' result && ! grep -qE 'MEMLIM bound|too small|not completed|out of memory' result; then
		echo "ok      $1: $(summary)"
	else
		echo "FAILED  $1"; grep -E '^pan|rror' result | head -5
		failed=1
	fi
}
# broken NAME CLAIM FLAGS...: the model without that line breaks the claim.
broken() {
	local name=$1 claim=$2 pattern
	shift 2
	case $claim in
	early) pattern='held\[' ;;
	twice) pattern='~(retired)' ;;
	lost) pattern='retired==0' ;;
	promise) pattern='due\[' ;;
	esac
	search -DSAFETY "" "-DBROKEN_$name" "$@"
	if grep 'assertion violated' result | grep -q -- "$pattern"; then
		echo "ok      without $name: $claim, as it must be; $(summary)"
	else
		echo "FAILED  without $name: not found: $claim"; grep -E '^pan|rror' result | head -5
		failed=1
	fi
}

pushers="-DCHAIN -DOWNERS=0 -DOBJECTS=3"
sound sealing -DEXIT -DOPS=8 -DREADERS=2 -DPICKS=2
sound prefixes -DPREFIX -DOPS=5 -DPICKS=2
sound disarming -DIDLE -DPREFIX -DOPS=4
sound exit -DEXIT -DHEIR -DPREFIX -DOWNERS=2 -DOPS=3 -DOBJECTS=3
sound barrier -DPREFIX -DBARRIERS=1 -DOPS=3 -DOBJECTS=3
sound "barrier, exit" -DEXIT -DOWNERS=2 -DBARRIERS=1 -DOPS=2 -DOBJECTS=3
sound "two barriers" -DEXIT -DBARRIERS=2 -DOPS=2 -DOBJECTS=3
sound chain $pushers -DPUSHERS=2 -DOPS=2
sound "chain, barrier" $pushers -DPUSHERS=1 -DBARRIERS=1 -DOPS=3
ends prefixes -DPREFIX -DOPS=3
ends disarming -DIDLE -DPREFIX -DOPS=3
ends "chain, barrier" $pushers -DPUSHERS=1 -DBARRIERS=1 -DOPS=2

broken COOKIE early -DEXIT -DOPS=4
broken DEMAND lost -DPREFIX -DOPS=3
broken REOPEN early -DEXIT -DOPS=5
broken ORDER lost -DPREFIX -DOPS=3
broken NOTE early -DPREFIX -DOPS=5
broken GENERATION early -DPREFIX -DOPS=4 -DOBJECTS=3 -DUNWATCHED
broken FIRST twice -DPREFIX -DBARRIERS=1 -DOPS=3 -DOBJECTS=3
broken REUSE early -DPREFIX -DBARRIERS=1 -DOPS=4 -DOBJECTS=3 -DUNWATCHED
broken RECHECK lost -DIDLE -DPREFIX -DOPS=3
broken EXIT lost -DEXIT -DOPS=3
broken ADOPT early -DEXIT -DHEIR -DPREFIX -DOWNERS=2 -DOPS=3 -DOBJECTS=3 -DUNWATCHED
broken WAIT promise -DEXIT -DBARRIERS=1 -DOPS=4
broken PASS promise -DEXIT -DBARRIERS=1 -DOPS=4
broken DETACH promise -DEXIT -DBARRIERS=1 -DOPS=3 -DOBJECTS=3
broken CHAIN early $pushers -DPUSHERS=2 -DOPS=2
broken HIDDEN promise $pushers -DPUSHERS=1 -DBARRIERS=1 -DOPS=2
exit $failed
