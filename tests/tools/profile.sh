# qslab profile: of a process that allocates from functions of known names what lives, waits for a grace period and pins
# slabs, each profile names the right function, and its estimates are within five standard deviations.
. "$(dirname "$0")/look.bash"

# Of the folded stacks on stdout: bytes by innermost frame.
leaves='
leaves = {}
for line in out.splitlines():
    stack, bytes = line.rsplit(" ", 1)
    leaves[stack.split(";")[-1]] = leaves.get(stack.split(";")[-1], 0) + int(bytes)
    assert stack.split(";")[-2:-1] == ["sites"] or stack == "cache route", line
def near(name, truth, deviation):
    assert abs(leaves.pop(name) - truth) < 5 * deviation * truth, (name, out)
'
QSLAB_PROFILE=2K start sites
look profile --format folded "$process"
cp out live.folded
judge "$leaves"'
near("keep_live", said["live"], .02)
near("keep_pinning", said["pinning"], .09)
assert leaves.pop("cache route") == said["routes"]
assert not leaves, leaves'
look profile --format folded --value waiting "$process"
judge "$leaves"'
near("keep_waiting", said["waiting"], .03)
assert not leaves, leaves'
look profile --value=pinned --format=folded -o pinned.folded "$process"
[ ! -s out ] || fail "stdout with -o: $(head -3 out)"
cp pinned.folded out
judge "$leaves"'
near("keep_pinning", said["pinned"], .1)
assert sum(leaves.values()) < said["pinned"] / 5, leaves'
look profile --value waiting "$process"
judge '
row = re.search(r"^ +0 B +0 +([\d.]+) MiB +[\d.]+ .?i?B +\d+  keep_waiting < sites < main", out, re.M).group(1)
assert abs(float(row) * 2 ** 20 - said["waiting"]) < .15 * said["waiting"] + 2 ** 16
assert out.index("keep_waiting") < out.index("keep_live")'
says "^process $process \(patient\): [0-9.]+ MiB live, [0-9.]+ MiB waiting for a grace period, [0-9.]+ MiB pinned"
says '^estimated from [0-9]+ samples; one byte in 2048 is sampled$'
says '^ +93\.8 KiB +1000 +0 B +0 B +all  cache route$'
look check "$process"
look profile --format pprof -o heap.pprof "$process"
cp heap.pprof out
judge '
head = re.match(r"heap profile: (\d+): (\d+) \[\1: \2\] @ heapprofile\n", out)
rows = re.findall(r"^(\d+): (\d+) \[\1: \2\] @(?: 0x[0-9a-f]+)+$", out, re.M)
assert len(rows) == 2 and abs(sum(int(bytes) for _, bytes in rows) - int(head.group(2))) <= 2, rows
assert re.search(r"^MAPPED_LIBRARIES:\n(.*\n)*[0-9a-f]+-[0-9a-f]+ r-xp [0-9a-f]+ 00:00 0 .*/patient$", out, re.M)'
pprof=$(command -v google-pprof || command -v pprof)
if [ "$pprof" ]; then
	timeout 120 "$pprof" --text "$build/tests/patient" heap.pprof >out 2>pprof.err || fail "$pprof: $(cat pprof.err)"
	judge '
total = float(re.search(r"^Total: ([\d.]+) MB", out, re.M).group(1))
assert abs(total * 2 ** 20 - said["live"] - said["pinning"]) < .15 * said["live"], total'
	says ' keep_live$'
	says_not ' keep_(briefly|waiting)$'
else
	echo "no google-pprof: its reading of the profile is not tested"
fi
if command -v gcore >/dev/null && timeout 120 gcore -o core "$process" >gcore.out 2>&1; then
	look profile --format folded "core.$process"
	cmp out live.folded || fail "a core file says otherwise: $(diff out live.folded)"
	wants 1 "core.$process: the rate of a core file cannot be set" profile --rate 1M "core.$process"
fi
look profile --rate 1M "$process"
[ ! -s out ] || fail "--rate: $(cat out)"
look profile "$process"
says '^estimated from [0-9]+ samples; one byte in 1048576 is sampled$'
look profile --rate 0 "$process"
look profile "$process"
says '^estimated from [0-9]+ samples; sampling is off$'
wants 1 '/nonexistent/file: No such file' profile -o /nonexistent/file "$process"
stop

# the library in the program: its own frames are left out, whether they have names or not
depths() { sed 's/ [0-9]*$//' out | awk -F';' '{print NF}' | sort -nu | xargs; }
QSLAB_PROFILE=2K launch "$build/tests/patient_static" sites
look profile --format folded "$process"
judge "$leaves"'
near("keep_live", said["live"], .02)
near("keep_pinning", said["pinning"], .09)
assert leaves.pop("cache route") == said["routes"]
assert not leaves, leaves'
named=$(depths)
stop
strip -o stripped "$build/tests/patient_static" || fail "strip"
QSLAB_PROFILE=2K launch ./stripped sites
look profile --format folded "$process"
says '^[^ ]*;stripped\+0x[0-9a-f]+ [0-9]+$'
[ "$(depths)" = "$named" ] || fail "stacks of $(depths) frames without names, of $named with: $(cat out)"
stop

if command -v g++ >/dev/null; then
	cat >shelf.cpp <<'CXX'
#include <cstdio>
#include <cstdlib>
#include <vector>
template <typename T> struct shelf {
	__attribute__((noinline)) static T *put(const std::vector<T> &items, std::size_t size)
	{
		T *place = static_cast<T *>(std::malloc(size));
		place[0] = items[0];
		return place;
	}
};
int main()
{
	for (int i = 0; i < 2000; i++)
		shelf<long>::put({i}, 1024)[1] = i;
	std::puts("{}");
	std::fflush(stdout);
	std::getchar();
}
CXX
	g++ -O1 -fno-builtin -o shelf shelf.cpp || fail "shelf.cpp"
	loads ./shelf
	launch env QSLAB_PROFILE=2K LD_PRELOAD="$library" ./shelf
	plain='shelf<long>::put\(std::vector<long, std::allocator<long> > const&, unsigned long\)'
	mangled='_ZN5shelfIlE3putERKSt6vectorIlSaIlEEm'
	look profile --format folded "$process"
	says ";main;$plain [0-9]+\$"
	look profile "$process"
	says "  $plain < main"
	for format in text folded; do
		look profile --no-demangle --format $format "$process"
		says "$mangled"
		says_not shelf'<'
	done
	# without a libstdc++
	mkdir nothing && printf 'int none;' | gcc -shared -x c -o nothing/libstdc++.so.6 - || fail "an empty library"
	export LD_LIBRARY_PATH=$work/nothing
	look profile --format folded "$process"
	unset LD_LIBRARY_PATH
	says ";main;$mangled [0-9]+\$"
	stop
else
	echo "no g++: C++ names are not tested"
fi

start healthy
wants 1 "process $process: has no heap profile; start it with QSLAB_PROFILE=4M" profile "$process"
wants 1 "process $process: has no heap profile" profile --rate 1M "$process"
stop

"$tool" run --profile -- sleep 100 &
process=$!
children+=("$process")
for _ in $(seq 100); do grep -q qslab-segment /proc/$process/maps && break; sleep 0.1; done
look profile "$process"
says '^estimated from [0-9]+ samples?; one byte in 4194304 is sampled$'

wants 2 'profile: no process or core file given' profile
wants 2 'profile: unknown option --nonsense' profile --nonsense 1
wants 2 'profile: --format is text, folded or pprof, not svg' profile --format svg 1
wants 2 'profile: --value is live, waiting or pinned, not dead' profile --value dead 1
wants 2 'profile: --rate needs bytes, with K, M or G, or 0, not fast' profile --rate fast 1
wants 2 'profile: takes no value: --no-demangle=yes' profile --no-demangle=yes 1
wants 2 'profile: superfluous argument' profile 1 2
wants 1 'process 2147483647: no such process' profile 2147483647
wants 1 '/nonexistent: No such file or directory' profile /nonexistent
wants 1 "process $$: does not run on qslab" profile $$
finish
