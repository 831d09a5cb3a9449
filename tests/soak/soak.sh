# soak.sh BUILD_DIR --seconds N [--seed S] [--mode M] [--log FILE]: runs build/tests/soak, and looks at it with the tool
# all the while, one command after the other. Fails if either does, or if what the tool says contradicts itself.
options=("${@:2}")
log=
for ((i = 0; i + 1 < ${#options[@]}; i += 2)); do
	[ "${options[i]}" = --log ] && options[i + 1]=$(realpath -m "${options[i + 1]}") && log=${options[i + 1]}
	[ "${options[i]}" = --mode ] && mode=${options[i + 1]}
done
. "$(dirname "$0")/../tools/look.bash"
unset QSLAB_SOAK_HOURS # tools/check's; an unknown option to the library
mode=${mode:-default}
[ -n "$log" ] || { log=$work/log; options+=(--log "$log"); }
: >>"$log"
: >checks
echo "{}" >said # judge reads one
before=$(wc -l <"$log")
"$build/tests/soak" "${options[@]}" --checks "$work/checks" --tool "$tool" 2>>"$work/stderr" </dev/null &
process=$!
children+=("$process")
until [ "$(wc -l <"$log")" -gt "$before" ]; do kill -0 "$process" 2>/dev/null || break; sleep 0.1; done

running() { [[ $(cut -d ' ' -f 3 "/proc/$process/stat" 2>/dev/null) == [RSDT] ]]; }
# Within ten minutes: what must never end is found so, not what is slow. A process that ends meanwhile ends well or not.
look_on() {
	running || return
	timeout 600 "$tool" "$@" "$process" >out 2>err </dev/null
	local status=$?
	printf . >>checks
	[ $status -eq 0 ] || { sleep 1; running && fail "qslab $* (run $(wc -c <checks)): status $status: $(head -20 out err)"; }
}
while running; do
	look_on check --count 3
	look_on stat --format json
	running && judge '
a = json.loads(out)["allocators"][0]
places = ["live", "free", "remote", "magazines", "waiting", "ready"]
for c in a["classes"]:
	assert c["objects"] == sum(c[p] for p in places), c'
	look_on why
	[ "$mode" != profile ] || look_on profile
	look_on check
	look_on record --interval 0.1 --duration 1 -o recording
done
wait "$process" || fail "soak ended with status $?: $(tail -3 "$log")"
tail -3 "$log"
[ -s checks ] || fail "the tool never looked"
finish
