# The bash completion offers every command and option that --help names, and the processes that run on qslab.
. "$(dirname "$0")/look.bash"
. "$root/tools/packaging/qslab.bash" || fail "it does not load"

# offers WORD...: what is offered for the last word.
offers() {
	COMP_WORDS=(qslab "$@") COMP_CWORD=$# COMPREPLY=()
	_qslab qslab "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>err
	grep -v 'compopt: not currently executing' err && fail "stderr at $*: $(cat err)"
	printf '%s\n' "${COMPREPLY[@]}"
}
"$tool" --help | sed -nE 's/^(usage:|      ) qslab ([a-z]+) (.*)/\2 \3/p' >synopses
[ "$(wc -l <synopses)" -ge 10 ] || fail "synopses: $(cat synopses)"
while read -r command synopsis; do
	offers "" | grep -qx "$command" || fail "no $command"
	for option in $(grep -oE -- '(^|[[ ])--?[a-z][a-z-]*' <<<"$synopsis" | tr -d '[ '); do
		offers "$command" - | grep -qx -- "$option" || fail "$command: no $option among $(offers "$command" - | xargs)"
	done
	for option in $(offers "$command" - | grep -vxE -- '--|--help'); do
		grep -qF -- "$option" <<<"$synopsis" || fail "$command has no $option"
	done
done <synopses
[ "$(offers stat --format j)" = json ] && [ "$(offers top --sort li)" = live ] || fail "values"
: >recording.jsonl
[ "$(offers report rec)" = recording.jsonl ] || fail "files: $(offers report rec)"
start healthy
offers why "" | grep -qx "$process" || fail "it does not offer process $process: $(offers why "" | xargs)"
offers top "" | grep -qx $$ && fail "it offers this shell"
stop
finish
