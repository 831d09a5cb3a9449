# A cgroup's limit: a program that lives within it, with ever other sizes, is not killed; nor is one of which we would keep
# more than the limit leaves.
. "$(dirname "$0")/common.bash"
program=$(readlink -f "$1/tests/preload_limit") bench=$(readlink -f "$1/perf/malloc_bench")
old=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
own=${old:-$(sed -n 's/^0:://p' /proc/self/cgroup)}
if [ -n "$old" ]; then # v1
	hierarchy=/sys/fs/cgroup/memory maximum=memory.limit_in_bytes events=memory.oom_control
else
	hierarchy=/sys/fs/cgroup maximum=memory.max events=memory.events
	[ -e $hierarchy/cgroup.controllers ] && [ -n "$own" ] || { echo "skipped: no cgroup at $hierarchy"; exit 77; }
fi
[ -d "$hierarchy$own" ] || own=/ # a container's, that is told the host's name of it
group=$hierarchy${own%/*}/qslab-test-$$ # beside this process's own: a group of v2 with processes has no subgroups
mkdir "$group" 2>/dev/null || { echo "skipped: $group cannot be made"; exit 77; }
trap 'rmdir "$group"; rm -rf "$work"' EXIT
[ ! -e "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"

# within LIMIT COMMAND...
within() {
	echo "$1" 2>/dev/null >"$group/$maximum" || { echo "skipped: no memory controller in $group"; exit 77; }
	bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "${@:2}"
}
lives() {
	within "$1" env LD_PRELOAD="$library" timeout 120 "${@:2}" 2>>"$work/stderr" >"$work/out" || fail "exit status $? within $1: ${*:2}"
	grep -q '^oom_kill 0$' "$group/$events" || fail "killed: $(cat "$group/$events")"
}
within 160M true || { echo "skipped: no process may enter $group"; exit 77; }
lives 160M "$program" within
lives 440M "$bench" large --scale 0.3 # needs some 330 MiB, and took 540 where nothing limited it
finish
