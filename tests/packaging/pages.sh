# The pages in Markdown: every link leads somewhere, every option that the library knows is explained, the figures that
# alerts ask for are published, and the README's numbers are those of perf/RESULTS.md.
. "$(dirname "$0")/../programs/common.bash"
root=$(readlink -f "$(dirname "$0")/../..")
cd "$root" || exit 1

# anchors FILE: of its headings, as GitHub makes them.
anchors() {
	grep -E '^#+ ' "$1" | sed -E 's/^#+ +//; s/[^A-Za-z0-9 _-]//g; s/ /-/g' | tr '[:upper:]' '[:lower:]'
}
links=0
while IFS=: read -r page link; do
	target=${link%%#*} anchor=${link#"${link%%#*}"}
	case $link in http*) continue ;; esac
	links=$((links + 1))
	[ -z "$target" ] && target=$page || target=$(dirname "$page")/$target
	[ -e "$target" ] || fail "$page: $link leads nowhere"
	[ -z "$anchor" ] || anchors "$target" | grep -qxF -- "${anchor#\#}" || fail "$page: $link: no such heading"
done < <(find . -name 'build*' -prune -o -name '*.md' -exec grep -HoE '\]\([^) ]+\)' {} + | sed -E 's/\]\((.*)\)$/\1/')
[ $links -gt 50 ] || fail "only $links links"

numbers=$(grep '^| .*](perf/RESULTS.md#' README.md | sed 's,](perf/RESULTS.md#,](#,')
[ "$(wc -l <<<"$numbers")" -gt 20 ] || fail "no numbers in README.md"
diff <(grep '^| .*](#' perf/RESULTS.md) - <<<"$numbers" || fail "README.md: the numbers are not those of perf/RESULTS.md"

while read -r variable; do
	grep -q "^| \`$variable=" OPERATING.md || fail "OPERATING.md does not explain $variable"
done < <(grep -oE '"QSLAB_[A-Z_]+", (FLAG|BYTES)' alloc/option.c | grep -oE 'QSLAB_[A-Z_]+')

LD_PRELOAD=$library sleep 1000 2>>"$work/stderr" &
children+=($!)
until grep -qF "$library" "/proc/$!/maps"; do sleep 0.1; done
until timeout "$limit" "$1/bin/qslab" stat --format prometheus $! >"$work/figures" 2>"$work/why"; do
	grep -q permission "$work/why" && skip "may not look at processes"
	kill -0 $! || fail "sleep ended"
	sleep 0.1
done
rules=$(sed -n '/^    groups:/,/^$/p' OPERATING.md)
[ "$(grep -c 'alert:' <<<"$rules")" -gt 3 ] || fail "no alerts in OPERATING.md"
while read -r figure; do
	grep -q "^$figure[{ ]" "$work/figures" || fail "no figure $figure"
done < <(grep -oE 'qslab_[a-z_]+' <<<"$rules")
for kind in $(grep -oE 'kind[=!]~"[^"]*"' <<<"$rules" | sed 's/.*"\(.*\)"/\1/; s/|/ /g'); do
	grep -q "kind=\"$kind\"" "$work/figures" || fail "no kind $kind"
done
finish
