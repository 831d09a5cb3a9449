# qslab why: each ailment of a process is named, with numbers and what helps; a healthy one has none.
. "$(dirname "$0")/look.bash"
verdicts='^(fragmented|leaking|growing|held up|hoarding|caching): '

start fragmented
look why --slabs 2 "$process"
judge '
slabs, pinned, left = re.search(r"^fragmented: (\d+) nearly empty slabs pin ([\d.]+) MiB; [\d.]+ KiB in (\d+) live objects keep them$", out, re.M).groups()
assert int(left) == said["left"] + said["routes"], left
assert 49 < float(pinned) < 53, pinned  # 200000 of 256 B, 40000 of 96 B are 52.5 MiB, 0.5 of them live
row = re.search(r"^ +[\d.]+ m?s +256 B +(\d+) +[\d.]+ MiB +([\d.]+) MiB  freeing the (\d+) objects left$", out, re.M).groups()
route = re.search(r"^ +[\d.]+ m?s +96 B +(\d+) +[\d.]+ MiB +([\d.]+) MiB  freeing the (\d+) objects left of cache route$", out, re.M).groups()
assert int(row[0]) + int(route[0]) == int(slabs) and abs(float(row[1]) + float(route[1]) - float(pinned)) < 0.11, (row, route)
assert (int(row[2]), int(route[2])) == (said["left"], said["routes"]), (row, route)
single = re.findall(r"^  0x[0-9a-f]+  .* old, (\d+) of \d+ objects of 256 B live: (0x.*)$", out, re.M)
assert len(single) == 2 and all(int(count) == len(places.split()) for count, places in single), single'
cp out why.out
look stat --format json "$process"
judge '
stat = json.loads(out)
slabs = [c["slabs"] for c in stat["allocators"][0]["classes"] if c["size"] == said["size"]]
named = int(re.search(r" 256 B +(\d+) ", open("why.out").read()).group(1))
assert slabs[0] - 1 <= named <= slabs[0], (slabs, named)  # the last one may serve allocations'
cp why.out out
if dump; then
	look why --slabs 2 "$core"
	judge '
assert out.startswith("core.%s (patient): " % "'"$process"'"), out
was, now = open("why.out").read(), out
verdict = re.compile(r"^(fragmented: \d+ nearly empty slabs pin )([\d.]+)( MiB; .*)$", re.M)
before, after = verdict.search(was).groups(), verdict.search(now).groups()
# a page that was given ahead and not written yet is not in the core file
assert before[::2] == after[::2] and -0.11 < float(after[1]) - float(before[1]) < 0.01, (before, after)
pins = re.compile(r"^ +(?:[\d.]+ m?s|\?) +(\d+ B) +(\d+) +([\d.]+) MiB +([\d.]+) MiB  (freeing the .*)$", re.M)
before, after = sorted(pins.findall(was)), sorted(pins.findall(now))  # ages are not known
assert len(before) == len(after) == 2, now
for old, new in zip(before, after):
	assert old[:2] == new[:2] and old[4] == new[4], (old, new)
	assert all(-0.11 < float(new[i]) - float(old[i]) < 0.01 for i in (2, 3)), (old, new)
assert "whether it leaks" not in now'
	wants 2 "why: --interval needs a process that runs, not $core" why --interval 1 "$core"
	rm "$core"
fi
cp why.out out
says "^whether it leaks takes a longer look: qslab why --interval 10 $process$"
look why --interval 0.5 "$process"
says '^fragmented: '
says '^not leaking: the live set changed by 0 B'
says_not '^(leaking|growing|held up|hoarding|caching)'
stop

start leaking
look why --interval 2 "$process"
judge '
grown, unit, objects, bytes = re.search(r"^leaking: the live set grew by ([\d.]+) (.iB) in .* from each look to the next; most of it: (\d+) objects of 48 B \(([\d.]+ .iB)\)", out, re.M).groups()
assert bytes == grown + " " + unit
factor = {"KiB": 1 << 10, "MiB": 1 << 20}[unit]
assert abs(int(objects) * 48 / factor - float(grown)) < 0.06, (objects, grown)'
says_not '^(fragmented|held up|hoarding)'
stop

start stalled
sleep 1.5
look why "$process"
tid=$(said tid)
says "^held up by a stalled reader: thread $tid \(slow-reader, sleeping\) has not been quiescent for [0-9.]+ s; 3000 objects, 2\.9 MiB, wait for it$"
says "^ +2\.9 MiB  waiting for a grace period +thread $tid \(slow-reader\) calling rcu_quiescent_state"
says_not '^(fragmented|leaking|hoarding|caching)'
stop

start hoarding
look why "$process"
tid=$(said tid)
says "^hoarding: .*; thread $tid \(hoarder\) has most, [0-9.]+ MiB$"
says "MiB +thread $tid \(hoarder\): [0-9]+ objects$"
says 'in threads. magazines +malloc_trim\(0\) called by the thread itself, or its end$'
says_not '^(fragmented|leaking|held up|caching)'
if dump; then
	look why "$core"
	says "^hoarding: .*; thread $tid \(\?\) has most, [0-9.]+ MiB$" # the number may be another thread's by now
	rm "$core"
fi
stop

start caching
look why "$process"
judge '
kept = re.search(r"^caching: ([\d.]+) MiB are free and kept for reuse$", out, re.M).group(1)
assert 10 < float(kept) < 25, kept  # 40 objects of 400000 bytes
assert re.search(r"^ +%s MiB  free spans +malloc_trim\(0\)$" % re.escape(kept), out, re.M)'
says_not '^(fragmented|leaking|held up|hoarding)'
stop

start healthy
look why --interval 0.5 "$process"
says '^nothing stands out: not fragmented, no stalled reader, the live set does not grow$'
says_not "$verdicts"
stop

wants 2 'why: no process or core file given' why
wants 2 'why: unknown option --nonsense' why --nonsense 1
wants 2 'why: --interval needs seconds' why --interval 0 1
wants 2 'why: --slabs needs a number' why --slabs x 1
wants 2 'why: superfluous argument' why 1 2
wants 1 'process 2147483647: no such process' why 2147483647
wants 1 '/nonexistent: No such file or directory' why /nonexistent
wants 2 'trim: cannot be done from outside a process: let it call malloc_trim(0)' trim 1
finish
