"""perf/bench growth: what grows with the number of live objects, and what beginnings cost."""
import os
import re

from benchlib import latency, rcu
from benchlib.common import Measurement, bench_program, find_libraries, medians, run_json
from benchlib.malloc import STARTS, measure_startup, patterns_of
from benchlib.tables import table

SECONDS_A_ROUND = 110  # at scale 1, with all allocators, on 2 cores
BYTES_AN_OBJECT = 130  # at most, with its slot: 16-64 bytes and a method's head
BIG = 10 ** 8          # as much only once, and only where memory is


def add_options(suite):
    suite.add_argument("--live", type=rcu.thread_list, help="numbers of live objects; default 10^3 to 10^7, and 10^8 "
                       "if memory allows")


def available_bytes():
    with open("/proc/meminfo") as file:
        return int(re.search(r"MemAvailable:\s+(\d+)", file.read())[1]) * 1024


def live_counts(options):
    if options.live:
        return options.live
    counts = [10 ** power for power in range(3, 8)]
    if options.scale >= 1 and available_bytes() > 1.5 * BIG * BYTES_AN_OBJECT:
        counts.append(BIG)
    return counts


def columns_of(libraries):
    """The peers' methods over one allocator: growth is the question, not which is best."""
    peer = next((name for name in ("jemalloc", "glibc", "mimalloc", "tcmalloc") if name in libraries), None)
    return ([("plain", name) for name in libraries] + [("free_rcu", "qslab")] * ("qslab" in libraries)
            + [(method, peer) for method in latency.PEERS if peer])


def power_of_ten(count):
    power = len(str(count)) - 1
    return f"10^{power}" if count == 10 ** power else str(count)


def growth_tables(samples, counts, columns):
    plain = [column for column in columns if column[0] == "plain"]
    others = [column for column in columns if column[0] != "plain"]
    wanted = [("malloc, ns", "malloc_ns", plain, "malloc beside many"),
              ("free, ns", "free_ns", plain, "free beside many"),
              ("retire with its share of quiescent states, ns", "retire_whole_ns", others, "retiring beside many"),
              ("malloc of the live objects, ns", "fill_ns", plain, None),
              ("free of all of them, ns", "drain_ns", plain, None)]
    for title, field, chosen, glance in wanted:
        label = (lambda c: c[1]) if chosen is plain else (lambda c: c[0])
        found = {count: row for (_, count), row in medians(samples, field).items()}
        rows = [(power_of_ten(count), {label(c): found[count].get(c) for c in chosen}) for count in counts]
        what = table(title + ", by live objects", [label(c) for c in chosen], rows, ["qslab", "free_rcu"],
                     [label(c) for c in chosen if label(c) not in ("qslab", "free_rcu")], glance=glance)
        yield what, {"name": "growth-" + field.split("_")[0], "title": title, "x": "live objects", "y": "ns",
                     "logx": 10, "series": {label(c): [[count, found[count][c]] for count in counts
                                                         if c in found[count]] for c in chosen}}


def bench_growth(options):
    libraries = find_libraries(options)
    names = list(libraries)
    programs = {name: bench_program(options, name) for name in ("malloc_bench", "rcu_bench")}
    part = Measurement("growth", options, {**libraries, **programs})
    notes = []

    def run(row, column):
        (_, count), (method, allocator) = row, column
        return run_json([programs["rcu_bench"], "growth", method, "--live", str(count), "--scale",
                         str(options.scale)], libraries[allocator])

    counts, columns = live_counts(options), columns_of(libraries)
    if options.live is None and BIG not in counts:
        notes.append("10^8 live objects are left out: they need full scale and 20 GB of available memory")
    rows = [("live", count) for count in counts]
    samples = part.measure([row for row in rows if row[1] != BIG], columns, run, share=0.4)

    life = list(patterns_of(programs["malloc_bench"], "life"))
    if options.scale < 1 or available_bytes() < 1.5 * (10 << 30):
        life.remove("fork-10g")
        notes.append("fork beside 10 GiB is left out: it needs full scale and 15 GiB of available memory")
    begun = part.measure(life, names, lambda pattern, name: run_json(
        [programs["malloc_bench"], pattern, "--scale", str(options.scale)], libraries[name]),
        1 if "fork-10g" in life else None, 0.4)
    if BIG in counts:
        samples |= part.measure([("live", BIG)], columns, run, 1)
    made = list(growth_tables(samples, counts, columns))
    found = medians(begun, lambda r: r["ns_per_op"] / 1000)
    startup = measure_startup(libraries, max(5, int(STARTS * min(1, options.scale))))
    for name in names:
        if startup[name] is None:
            part.fail(name, "start-up", "/bin/true failed, or ran without the preload")
    rows = [("start-up of /bin/true", {name: ms and ms * 1000 for name, ms in startup.items()}),
            *((label, found[pattern]) for pattern, label in (
                ("thread-life", "a thread's creation and end"), ("fork-1g", "fork, child, wait, beside 1 GiB"),
                ("fork-10g", "the same beside 10 GiB")) if pattern in found)]
    tables = [what for what, _ in made] + [table("beginnings and ends, microseconds", names, rows,
                                                 glance="start-up, threads, fork")]
    if options.scale < 1:
        notes.append(f"the heaps beside which processes fork are {options.scale:.3g} of the size named")
    return part.report(tables, [plot for _, plot in made[:3]], notes)
