"""perf/bench rcu: retire methods, each over each allocator, against qslab's deferred free."""
import math
import os
import statistics
import sys

from benchlib.common import (PEERS, QUICK_SCALE, Failure, at_least_one, comma_list, find_libraries,
                             fingerprint, heading, machine_properties, measure, output_of,
                             package_version, peer_version, run_json, write_json)

NOT_FOR_THIS, NOT_HERE = 3, 4  # rcu_bench's exit statuses
SMOKE = {"scale": 0.002, "threads": [1, 3]}
LETTERS = {"qslab": "q", "glibc": "g", "jemalloc": "j", "mimalloc": "m", "tcmalloc": "t"}
METRICS = [  # title, how to read it from a result, is more better, which patterns ("" all)
    ("ns per operation", lambda r: r["ns_per_op"], False, ""),
    ("ns per operation, until all is freed", lambda r: r["drained_ns_per_op"], False, ""),
    ("CPU seconds, until all is freed", lambda r: r["cpu_seconds"], False, ""),
    ("reads per microsecond, beside writers", lambda r: r["reads_per_second"] / 1e6, True, "-beside"),
    ("peak RSS, KiB", lambda r: r["peak_rss_kib"], False, ""),
    ("peak waiting, KiB", lambda r: r["peak_waiting_bytes"] / 1024, False, ""),
    ("mean microseconds from retire to free", lambda r: r["mean_wait_us"], False, ""),
    ("grace-period latency, microseconds, median", lambda r: r["latency_us"].get("p50"), False, ""),
    ("grace-period latency, microseconds, 99 %", lambda r: r["latency_us"].get("p99"), False, ""),
    ("kfree: memory footprint, KiB", lambda r: r["footprint_kib"], False, "kfree"),
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
        self.extra = [part for name in ("loops", "alloc_num", "mult", "quiescent", "probe")
                      if getattr(options, name) is not None
                      for part in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]

    def columns(self, methods, libraries, cross):
        return [(method, name) for method in methods for name in libraries
                if (name == "qslab") == (self.kinds[method] == "ours")
                or (cross and name == "qslab")]

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


def to_best(found, suite, more):
    """{our method: ratio to the best peer that waits for readers}, where both are known and not 0."""
    peers = [value for method, (value, _) in found.items() if suite.kinds[method] == "peer"]
    if not peers or (max if more else min)(peers) <= 0:
        return {}
    limit = (max if more else min)(peers)
    return {method: value / limit for method, (value, _) in found.items()
            if suite.kinds[method] == "ours" and value > 0}


def number(value):
    digits = next((digits for least, digits in ((1000, 0), (100, 1), (1, 2)) if abs(value) >= least), 4)
    return f"{value:,.{digits}f}"


def print_metric(title, suite, samples, rows, methods, metric, more):
    """Prints one table; returns what goes into the report."""
    waits = not title.startswith(("peak waiting", "mean micro", "grace"))
    methods = [m for m in methods if waits or suite.kinds[m] != "floor"]
    ours = [m for m in methods if suite.kinds[m] == "ours"]
    width = max(len(f"{pattern}/{threads}") for pattern, threads in rows)
    print(f"\n{title}{' (more is better)' if more else ''}\n")
    print(" " * width + "".join(f"{m:>16}" for m in methods) + "".join(f"{m + '/best':>19}" for m in ours))
    report, logs = {}, {m: [] for m in ours}
    for row in rows:
        found = cells(samples, row, methods, metric, more)
        if not any(value for value, _ in found.values()):
            continue
        ratios = to_best(found, suite, more)
        for method, value in ratios.items():
            logs[method].append(math.log(value))
        line = [f"{number(found[m][0])} {found[m][1]}" if m in found else "-  " for m in methods]
        print(f"{row[0] + '/' + str(row[1]):<{width}}" + "".join(f"{text:>16}" for text in line)
              + "".join(f"{ratios[m]:19.3f}" if m in ratios else f"{'-':>19}" for m in ours))
        report[f"{row[0]}/{row[1]}"] = {"best": {m: {"value": v, "allocator": a} for m, (v, a) in found.items()},
                                        "to_best_peer": ratios}
    means = {m: math.exp(statistics.fmean(log)) for m, log in logs.items() if log}
    if means:
        print(f"{'geometric mean':<{width + 16 * len(methods)}}"
              + "".join(f"{means[m]:19.3f}" if m in means else f"{'-':>19}" for m in ours))
    return {"rows": report, "geomean_to_best_peer": means}


# ---- the suite ----

def bench_rcu(options):
    program = os.path.join(options.build, "perf", "rcu_bench")
    if not os.path.exists(program):
        print("rcu_bench is not built: it needs liburcu-dev and libck-dev; then cmake -B build && "
              "cmake --build build", file=sys.stderr)
        return 1
    suite = Suite(program, options)
    patterns, methods = options.patterns or suite.patterns, options.methods or list(suite.kinds)
    for name in [p for p in patterns if p not in suite.patterns] + [m for m in methods if m not in suite.kinds]:
        options.parser.error(f"unknown {name!r}; rcu_bench --list names them")
    libraries = find_libraries(options)
    if options.smoke and len(libraries) < len(options.allocators):
        return 1
    without_ours = suite.library_lacks_ours(libraries)
    if without_ours:
        print("skipped: qslab's methods; this libqslab-malloc.so has none of them")
        methods = [m for m in methods if suite.kinds[m] != "ours"]
    columns = suite.columns(methods, libraries, options.cross or options.smoke)
    if not columns:
        print("nothing to measure", file=sys.stderr)
        return 1

    scale = SMOKE["scale"] if options.smoke else QUICK_SCALE if options.quick else 1
    threads = options.threads or (SMOKE["threads"] if options.smoke else default_threads())
    rows = [(pattern, count) for pattern in patterns for count in threads]
    machine = machine_properties()
    files = {name: path for name, path in {**libraries, "rcu_bench": program}.items() if path}
    sha256 = {name: fingerprint(path) for name, path in files.items()}
    samples, failures = measure(rows, columns, lambda row, column: suite.run(row, column, libraries, scale),
                                1 if options.smoke else options.runs)
    rows = [row for row in rows if any(samples[row].values()) or failures[row]]
    failed = [("+".join(column), f"{row[0]}/{row[1]}", why)
              for row, found in failures.items() for column, why in found.items()]
    failed += [(name, "all", "its file changed during the run: the samples are of two builds")
               for name, path in files.items() if fingerprint(path) != sha256[name]]

    metrics = {}
    if not options.smoke:
        print(heading(machine, options.runs, scale))
        print("each cell: the best allocator under that method: "
              + ", ".join(f"{letter} {name}" for name, letter in LETTERS.items()))
        for title, metric, more, only in METRICS:
            wanted = [row for row in rows if only in row[0]]
            if wanted:
                metrics[title] = print_metric(title, suite, samples, wanted, methods, metric, more)
    for column, row, why in failed:
        print(f"FAILED: {column}, {row}: {why}")
    if options.smoke:
        print(f"{sum(map(bool, (s for row in samples.values() for s in row.values())))} runs right, "
              f"{len(failed)} wrong")
    if options.json:
        write_json(options.json, {
            "suite": "rcu", "runs": options.runs, "scale": scale, "machine": machine, "sha256": sha256,
            "peer_versions": {**{name: peer_version(name) for name in libraries if name in PEERS},
                              **{name: package_version(name) for name in ("liburcu-dev", "libck-dev")}},
            "samples": {f"{row[0]}/{row[1]}": {"+".join(column): results for column, results in found.items()
                                               if results} for row, found in samples.items()},
            "metrics": metrics,
            "failed": [{"column": column, "row": row, "why": why} for column, row, why in failed]})
    return 1 if failed or (options.smoke and without_ours) else 0
