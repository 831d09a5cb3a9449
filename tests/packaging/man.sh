# The manual: every page is sound, every function and macro of the public headers has one, and no page has a name
# that is not there.
. "$(dirname "$0")/../programs/common.bash"
root=$(readlink -f "$(dirname "$0")/../..")
pages=$root/tools/packaging/man
need man

for page in "$pages"/*.[1-9]; do
	for width in 80 120; do
		warnings=$(LC_ALL=C.UTF-8 MANROFFOPT= MANWIDTH=$width timeout 60 man --warnings=w -E UTF-8 -l "$page" 2>&1 >"$work/text")
		[ -z "$warnings" ] || fail "$page: $warnings"
		[ -s "$work/text" ] || fail "$page: empty"
	done
	if command -v mandoc >/dev/null; then
		warnings=$(timeout 60 mandoc -Tlint -W warning "$page")
		[ -z "$warnings" ] || fail "$warnings"
	fi
done

# what the headers declare, and what the pages name
cat "$root"/include/qslab/*.h | tr '\n' ' ' | grep -oE '(QSLAB_API|static inline)[^;{]*[;{]' |
	grep -oE '\bqslab_[a-z_]+ ?\(' | tr -d ' (' | sort -u >"$work/declared"
grep -hoE '^#define qslab_[a-z_]+' "$root"/include/qslab/*.h | sed 's/#define //' | sort -u >>"$work/declared"
[ "$(wc -l <"$work/declared")" -gt 30 ] || fail "only $(wc -l <"$work/declared") names in the headers"
for page in "$pages"/*.[1-9]; do
	sed -n '/^\.SH NAME/{n;s/ \\- .*//;s/, */\n/g;p}' "$page" | sed "s/\$/ $(basename "$page")/"
done >"$work/named"
while read -r name; do
	grep -q "^$name " "$work/named" || fail "$name has no manual page"
done <"$work/declared"
while read -r name page; do
	case $name in qslab | qslab_hpp | qslab_rcu) continue ;; esac # overviews
	grep -qw -- "$name" "$root"/include/qslab/*.h* ||
		fail "$page names $name, which the headers do not know"
	[ "$name.${page##*.}" = "$page" ] || grep -qwF -- "$name" <(sed '1,/^\.SH SYNOPSIS/d' "$pages/$page") ||
		fail "$page does not speak of $name"
done <"$work/named"
for page in "$pages"/qslab_*.3; do
	name=$(basename "$page" .3)
	grep -qF "\\fB$name\\fR(3)" "$pages/qslab.3" || fail "qslab.3 does not list $name"
done
sort "$work/named" | cut -d' ' -f1 | uniq -d | grep -v '^qslab$' | grep . && fail "named by two pages"

# what the tool says, the page says
"$1/bin/qslab" --help | grep -oE -- '--[a-z][a-z-]*' | sort -u | while read -r option; do
	grep -qF -- "${option//-/\\-}" "$pages/qslab.1" || { echo "$option"; exit 1; }
done || fail "qslab.1 lacks an option"
# the variables that the library knows
grep -oE '"QSLAB_[A-Z_]+", (FLAG|BYTES)' "$root/alloc/option.c" | grep -oE 'QSLAB_[A-Z_]+' | while read -r variable; do
	grep -qF "$variable" "$pages/qslab.3" || { echo "$variable"; exit 1; }
done || fail "qslab.3 lacks a variable"
finish
