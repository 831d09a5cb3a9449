# What the scripts that check models share. $model is the model. 77: spin or gcc is missing. One check at a time, below
# 1 GB each. Defines claims=([NAME]=PATTERN...): what pan says of an assertion that a broken variant violates.
declare -A claims
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
		timeout 60 gcc -Og -w -DCOLLAPSE -DMEMLIM=1000 $options -o pan pan.c &&
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
	local name=$1 claim=$2
	shift 2
	search "-DSAFETY -O0" "" "-DBROKEN_$name" "$@"
	if grep 'assertion violated' result | grep -q -- "${claims[$claim]}"; then
		echo "ok      without $name: $claim, as it must be; $(summary)"
	else
		echo "FAILED  without $name: not found: $claim"; grep -E '^pan|rror' result | head -5
		failed=1
	fi
}
