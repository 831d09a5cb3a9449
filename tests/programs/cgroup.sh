# A cgroup's memory.max: a program that lives within it, with ever other sizes, is not killed.
. "$(dirname "$0")/common.bash"
program=$(readlink -f "$1/tests/preload_limit")
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
[ -e /sys/fs/cgroup/cgroup.controllers ] && [ -n "$own" ] || { echo "skipped: no cgroup v2 at /sys/fs/cgroup"; exit 77; }
group=/sys/fs/cgroup${own%/*}/qslab-test-$$ # beside this process's own: a group with processes has no subgroups
mkdir "$group" 2>/dev/null || { echo "skipped: $group cannot be made"; exit 77; }
trap 'rmdir "$group"; rm -rf "$work"' EXIT
echo 160M 2>/dev/null >"$group/memory.max" || { echo "skipped: no memory controller in $group"; exit 77; }
[ ! -e "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"

within() { bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"; }
within true || { echo "skipped: no process may enter $group"; exit 77; }
within env LD_PRELOAD="$library" timeout 120 "$program" within 2>>"$work/stderr" || fail "exit status $? within 160 MiB"
grep -q '^oom_kill 0$' "$group/memory.events" || fail "killed: $(cat "$group/memory.events")"
finish
