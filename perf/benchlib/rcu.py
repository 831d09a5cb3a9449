"""perf/bench rcu: retire methods, each over each allocator, against qslab's deferred free."""
import os
import statistics

from benchlib.common import (Failure, Measurement, at_least_one, bench_program, comma_list, find_libraries,
                             output_of, package_version, run_json)
from benchlib.tables import mean_ratios_row, table

SECONDS_A_ROUND = 700  # all patterns, methods, allocators and numbers of threads, at scale 1, on 2 cores
NOT_FOR_THIS, NOT_HERE = 3, 4  # rcu_bench's exit statuses
SMOKE = {"scale": 0.002, "threads": [1, 3], "runs": 1}
LETTERS = {"qslab": "q", "glibc": "g", "jemalloc": "j", "mimalloc": "m", "tcmalloc": "t"}
METRICS = [  # title, how to read it from a result, is more better, which patterns ("" all), its name in the summary
    ("ns per operation", lambda r: r["ns_per_op"], False, "", "time of retiring"),
    ("ns per operation, until all is freed", lambda r: r["drained_ns_per_op"], False, "", "time until all is freed"),
    ("CPU seconds, until all is freed", lambda r: r["cpu_seconds"], False, "", "CPU time until all is freed"),
    ("reads per microsecond, beside writers", lambda r: r["reads_per_second"] / 1e6, True, "-beside",
     "reads beside writers"),
    ("peak RSS, KiB", lambda r: r["peak_rss_kib"], False, "", "peak RSS"),
    ("peak waiting, KiB", lambda r: r["peak_waiting_bytes"] / 1024, False, "", "most memory waiting"),
    ("mean microseconds from retire to free", lambda r: r["mean_wait_us"], False, "", "wait from retire to free"),
    ("grace-period latency, microseconds, median", lambda r: r["latency_us"].get("p50"), False, "", None),
    ("grace-period latency, microseconds, 99 %", lambda r: r["latency_us"].get("p99"), False, "", "grace period, 99 %"),
    ("kfree: memory footprint, KiB", lambda r: r["footprint_kib"], False, "kfree", None),
]


def add_options(suite):
    suite.add_argument("--threads", type=thread_list, help="default 1, one a core, two a core")
    suite.add_argument("--methods", type=comma_list(), help="default all (rcu_bench --list)")
    suite.add_argument("--cross", action="store_true", help="run the peers' methods over qslab's malloc too")
    suite.add_argument("--smoke", action="store_true", help="everything once, tiny: only right or wrong")
    for name, what in (("loops", "kfree: loops of a thread, default 200"),
                       ("alloc-num", "kfree: objects of a loop, default 8000"),
                       ("mult", "kfree: object size in units of 24 bytes, default 1"),
                       ("quiescent", "operations between quiescent states, default 64"),
                       ("probe", "retires between latency probes, default 1024")):
        suite.add_argument(f"--{name}", type=at_least_one, help=what)


def thread_list(text):
    return sorted({at_least_one(part) for part in text.split(",")})


def default_threads():
    cores = len(os.sched_getaffinity(0))
    return sorted({1, cores, 2 * cores})


# ---- what to run ----

class Suite:
    """The program, what it can do, and which (method, allocator) pairs to run: the columns."""

    def __init__(self, program, options):
        lines = [line.split("\t") for line in output_of(program, "--list").splitlines()]
        self.program = program
        self.patterns = [name for kind, name, _ in lines if kind == "pattern"]
        self.kinds = {name: what for kind, name, what in lines if kind == "method"}  # ours, peer or floor
        self.extra = [part for name in ("loops", "alloc_num", "mult", "quiescent", "probe", "live")
                      if getattr(options, name, None) is not None
                      for part in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]

    def columns(self, methods, libraries, cross):
        return [(method, name) for method in methods for name in libraries
                if (name == "qslab") == (self.kinds[method] == "ours")
                or (name == "qslab" and (cross or method == "plain"))]

    def run(self, row, column, libraries, scale):
        (pattern, threads), (method, allocator) = row, column
        result = run_json([self.program, pattern, method, "--threads", str(threads), "--scale", str(scale),
                           *self.extra], libraries[allocator], (NOT_FOR_THIS, NOT_HERE))
        if result == NOT_HERE:
            raise Failure("the preloaded library lacks it")
        return None if result == NOT_FOR_THIS else result

    def library_lacks_ours(self, libraries):
        ours = [method for method, kind in self.kinds.items() if kind == "ours"]
        return "qslab" in libraries and run_json(
            [self.program, "pair-64", ours[0], "--scale", "0.0001"], libraries["qslab"], (NOT_HERE,)) == NOT_HERE


# ---- tables ----

def best(values, more):
    """(value, letter) of the best allocator; values: {allocator: value}. qslab's malloc is no peer's."""
    peers = {name: v for name, v in values.items() if name != "qslab"} or values
    if not peers:
        return None
    name = (max if more else min)(peers, key=peers.get)
    return peers[name], LETTERS[name]


def cells(samples, row, methods, metric, more):
    """{method: (value, letter)}, by the medians."""
    found = {}
    for method in methods:
        values = {}
        for (which, allocator), results in samples[row].items():
            known = [metric(r) for r in results if which == method]
            if known and None not in known:
                values[allocator] = statistics.median(known)
        if values:
            found[method] = best(values, more)
    return found


def metric_table(title, suite, samples, rows, methods, metric, more, glance):
    waits = not title.startswith(("peak waiting", "mean micro", "grace"))
    methods = [m for m in methods if waits or suite.kinds[m] != "floor"]
    made = []
    for row in rows:
        found = cells(samples, row, methods, metric, more)
        if any(value for value, _ in found.values()):
            made.append({"label": f"{row[0]}/{row[1]}", "values": {m: value for m, (value, _) in found.items()},
                         "tags": {m: letter for m, (_, letter) in found.items()}})
    what = table(title, methods, made, [m for m in methods if suite.kinds[m] == "ours"],
                 [m for m in methods if suite.kinds[m] == "peer"], more, glance)
    if made:
        what["rows"].append(mean_ratios_row(what))
    return what


# ---- judging ----

PAIR, LEAST_UPDATES = "pair-64", 10  # percent
LIMITS = {"plain": 1.25, "call_rcu": 0.2, "defer_rcu": 0.5, "leak": 1, "waiting": 0.25}


def updates(pattern):
    """Percent of a structure's operations that are updates; 0 for all else."""
    structure, _, part = pattern.partition("-")
    return int(part) if structure in ("hash", "list", "tree") and part.isdigit() else 0


def verdict(samples):
    """What must be reached: (what, met, the fact), of free_rcu; met is None where it could not be measured."""
    facts = []

    def least(row, method, allocator=None, metric=lambda r: r["ns_per_op"]):
        """The best allocator's median, or the one's that is named; None: not measured."""
        values = {name: statistics.median(metric(r) for r in results)
                  for (which, name), results in samples.get(row, {}).items()
                  if which == method and results and allocator in (None, name)}
        return min(values.values(), default=None)

    def fact(what, rows, ours, theirs, limit):
        found = {row: ours(row) / theirs(row) for row in rows if ours(row) is not None and theirs(row)}
        worst = sorted(found, key=found.get, reverse=True)
        good = [row for row in found if found[row] <= limit]
        text = f"{len(good)} of {len(found)}; " + ", ".join(f"{p}/{t} {found[p, t]:.2f}x" for p, t in worst[:6])
        facts.append((what, len(good) == len(found) if found else None, text if found else "not measured"))

    def ours(row):
        return least(row, "free_rcu")

    pairs = [row for row in samples if row[0] == PAIR]
    structures = [row for row in samples if updates(row[0]) >= LEAST_UPDATES]
    fact("a pair of alloc and free_rcu at most 1.25 of alloc and free, one thread", [r for r in pairs if r[1] == 1],
         ours, lambda row: least(row, "plain", "qslab"), LIMITS["plain"])
    fact("a pair at most a fifth of call_rcu on the best peer", pairs, ours, lambda row: least(row, "call_rcu"),
         LIMITS["call_rcu"])
    fact("a pair at most half of defer_rcu on the best peer", pairs, ours, lambda row: least(row, "defer_rcu"),
         LIMITS["defer_rcu"])
    fact("faster than leaking on every peer, structures with 10 % updates and more", structures, ours,
         lambda row: least(row, "leak"), LIMITS["leak"])

    def waiting(method):
        return lambda row: least(row, method, metric=lambda r: r["peak_waiting_bytes"])

    fact("most bytes waiting at most a quarter of call_rcu's", samples, waiting("free_rcu"), waiting("call_rcu"),
         LIMITS["waiting"])
    return facts


# ---- the suite ----

def bench_rcu(options):
    program = bench_program(options, "rcu_bench")
    suite = Suite(program, options)
    patterns, methods = options.patterns or suite.patterns, options.methods or list(suite.kinds)
    for name in [p for p in patterns if p not in suite.patterns] + [m for m in methods if m not in suite.kinds]:
        options.parser.error(f"unknown {name!r}; rcu_bench --list names them")
    libraries = find_libraries(options)
    without_ours = suite.library_lacks_ours(libraries)
    if without_ours:
        print("skipped: qslab's methods; this libqslab-malloc.so has none of them")
        methods = [m for m in methods if suite.kinds[m] != "ours"]
    columns = suite.columns(methods, libraries, options.cross or options.smoke)
    if not columns:
        raise SystemExit("nothing to measure")
    if options.smoke:
        options.scale, options.runs = SMOKE["scale"], SMOKE["runs"]
    threads = options.threads or (SMOKE["threads"] if options.smoke else default_threads())
    rows = [(pattern, count) for pattern in patterns for count in threads]

    part = Measurement("rcu", options, {**libraries, "rcu_bench": program})
    if options.smoke and (without_ours or len(libraries) < len(options.allocators)):
        part.fail("qslab", "all", "the smoke test needs every allocator named, and qslab's methods")
    samples = part.measure(rows, columns, lambda row, column: suite.run(row, column, libraries, options.scale))
    if options.smoke:
        print(f"{sum(map(bool, (s for row in samples.values() for s in row.values())))} runs right, "
              f"{len(part.failed)} wrong")
        return part.report([])
    rows = [row for row in rows if any(samples[row].values())]
    return part.report(
        [metric_table(title, suite, samples, [row for row in rows if only in row[0]], methods, metric, more, glance)
         for title, metric, more, only, glance in METRICS],
        facts=[{"what": what, "met": met, "fact": text} for what, met, text in verdict(samples)],
        notes=["each cell: the best allocator under that method: "
               + ", ".join(f"{letter} {name}" for name, letter in LETTERS.items())],
        versions={name: package_version(name) for name in ("liburcu-dev", "libck-dev")})
