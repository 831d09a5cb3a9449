# Every case of misuse.c over the library: caught and named as it should be, harmless, or known to be missed.
# misuse.sh BUILD_DIR harden: the same in the hardened mode, where each is caught or harmless; sampled: there, too, when each
# object of at most a page has a page of its own.
. "$(dirname "$0")/../programs/common.bash"
unset "${!QSLAB_@}"
mode=${2:-default}
case $mode in
default) ;;
harden) export QSLAB_OPTIONS=harden,rcu_sample=0 ;; # or by chance an object has a page of its own
sampled) export QSLAB_OPTIONS=harden,rcu_sample=1 ;;
*) fail "no such mode: $mode" ;;
esac
program=$1/tests/misuse
known=" $("$program" --list | tr '\n' ' ')"

# In default mode: what is missed, what the library says of what it catches; all others are harmless.
missed='
overflow-32-by-1 overflow-64-by-1 overflow-64-by-64 overflow-64-by-4096 overflow-1M-by-1M
underflow-64-by-1 underflow-64-by-16 forge-header
read-freed-64 read-freed-1M uninitialised-64 uninitialised-1M write-freed-64-reused write-freed-1M-reused
double-free-reused '
address='(0x[0-9a-f]+)'
foreign="free\\($address\\): not a qslab object: it lies in"
inside="free\\($address\\): interior pointer:"
declare -A caught=(
	[double-free-1M]="free\\($address\\): not a qslab object: nothing live is there"
	[double-free-5000]="free\\($address\\): double free of a 5120-byte object"
	[double-free-merged]="free\\($address\\): double free of a 256-byte object"
	[realloc-freed]="realloc\\($address\\): use of a freed 64-byte object"
	[free-interior-by-16]="$inside 16 bytes into the 64-byte object at $address"
	[free-interior-by-1]="$inside 1 bytes into the 64-byte object at $address"
	[free-interior-1M]="$inside 4096 bytes into the 1048576-byte object at $address"
	[forge-interior]="$inside 80 bytes into the 256-byte object at $address"
	[free-stack]="$foreign the main thread's stack"
	[free-static]="$foreign static data of .*/misuse"
	[forge-static]="$foreign static data of .*/misuse"
	[free-mmap]="$foreign an anonymous mapping"
	[free-never-allocated]="$foreign an anonymous mapping"
	[free-brk]="$foreign the brk heap"
)
for name in double-free{,-1-between,-20-between,-20-before,-wiped,-both-stay,-threads,-realloc-moved}; do
	caught[$name]="free\\($address\\): double free of a 64-byte object"
done
caught[realloc-freed-larger]=${caught[realloc-freed]}

# In the hardened mode: the same words but for these; what is not named is harmless. Which object of several shows an
# overflow first is chance: so are its neighbours.
seen="(overflow: byte [0-9-]+ of the|overflow: the seal behind|the bytes before the object were written)"
declare -A hardened=()
chance=
for name in $known; do
	[ -z "${caught[$name]:-}" ] || hardened[$name]=${caught[$name]}
	case $name in
	overflow-1M-by-*) hardened[$name]="overflow: address $address is in the guard page 0 bytes past the 1048576-byte object" ;;
	overflow-* | underflow-64-* | forge-header) hardened[$name]="(free\\($address\\): $seen|write after free: [0-9]+-byte object|overflow: address $address is in the guard page)" ;;
	*-freed-1M*) hardened[$name]="use after free: address $address, [0-9]+ bytes into the freed large object" ;;
	write-freed-64-* | poison-* | fill-freed-64) # harmless if the object is in no one's hands until the end
		hardened[$name]="write after free: [0-9]+-byte object $address changed at bytes"
		chance+=" $name " ;;
	double-free*) hardened[$name]="free\\($address\\): double free(, or use after free,)? of a" ;;
	realloc-freed*) hardened[$name]="realloc\\($address\\): double free of a 80-byte object" ;;
	*-sized-*) hardened[$name]="(operator delete|free_sized)\\($address, [0-9]+\\): the object was allocated with" ;;
	esac
done

# $outcome, as misuse.c names it: caught only if the library's first words are a report.
commit() {
	local status
	{ LD_PRELOAD="$library" "$program" "$1" >"$work/out" 2>"$work/err"; status=$?; } 2>/dev/null
	outcome=broken
	case $status in
	134) head -1 "$work/err" | grep -q '^qslab: [a-z_ ]*[(:].*0x' && outcome=caught ;;
	139) head -1 "$work/err" | grep -q '^qslab: [a-z ]*: address 0x' && outcome=caught || outcome=crash ;;
	135) outcome=crash ;;
	0) [ -s "$work/err" ] || outcome=$(sed 's/:.*//' "$work/out") ;;
	esac
}

judge_default() {
	local expected=harmless
	[[ $missed =~ [[:space:]]$1[[:space:]] ]] && expected=missed
	[ -z "${caught[$1]:-}" ] || expected=caught
	[ "$outcome" = $expected ] || return
	[ $expected != caught ] || head -1 "$work/err" | grep -qE "^qslab: ${caught[$1]}"
}
judge_harden() {
	if [ -z "${hardened[$1]:-}" ] || [[ $outcome == harmless && $chance == *" $1 "* ]]; then
		[ "$outcome" = harmless ]
		return
	fi
	[ "$outcome" = caught ] && head -1 "$work/err" | grep -qE "^qslab: ${hardened[$1]}"
}
# Objects stand at their page's end, before the guard, or at its beginning, before padding.
judge_sampled() {
	[[ $outcome =~ ^(caught|harmless)$ ]] || return
	case $1 in
	overflow-64-by-*) head -1 "$work/err" | grep -qE '(guard page 0 bytes past|byte 64 of) the 64-byte object' ;;
	read-freed-64 | write-freed-64-* | fill-freed-64)
		head -1 "$work/err" | grep -qE 'use after free: .* into the sampled object' && grep -q 'allocated by' "$work/err" ;;
	esac
}

[ "$(LD_PRELOAD="$library" "$program" --malloc)" = "$(basename "$library")" ] || fail "the library is not in use"
for name in $missed "${!caught[@]}"; do
	[[ $known == *" $name "* ]] || fail "$name is no case of misuse.c"
done
wrong=0
for name in $known; do
	commit "$name"
	"judge_$mode" "$name" && continue
	echo "$name: $outcome: $(cat "$work/out") $(head -1 "$work/err")"
	wrong=$((wrong + 1))
done
[ $wrong -eq 0 ] || fail "$wrong of $(wc -w <<<"$known") cases end otherwise than expected"
finish
