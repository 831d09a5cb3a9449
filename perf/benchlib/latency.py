"""perf/bench latency: how long single calls take, and how long the slowest of many."""
import statistics

from benchlib import rcu
from benchlib.common import Measurement, at_least_one, bench_program, find_libraries
from benchlib.tables import table

SECONDS_A_ROUND = 75  # at scale 1, with all allocators, on 2 cores
PEERS = ["call_rcu", "defer_rcu", "ck_epoch"]
SHOWN = {"mean99": "mean of the fastest 99 %", "p50": "p50", "p99": "p99", "p999": "p99.9", "max": "max"}
CURVE = ["p50", "p90", "p99", "p999", "p9999", "max"]


def add_options(suite):
    suite.add_argument("--threads", type=rcu.thread_list, default=[1, 2], help="default 1,2")
    suite.add_argument("--live", type=at_least_one, default=10000, help="objects of a thread, default 10000")


def columns_of(libraries):
    """plain over every allocator for malloc and free; ours, and the peers' methods over their allocators."""
    return ([("plain", name) for name in libraries] + [("free_rcu", name) for name in libraries if name == "qslab"]
            + [(method, name) for method in PEERS for name in libraries if name != "qslab"])


def reading(operation, percentile):
    return lambda result: result["operation_ns"][operation].get(percentile)


def rows_of(samples, threads, read_row):
    """read_row(row, percentile): (values, tags)."""
    for row in samples:
        for percentile, label in SHOWN.items():
            values, tags = read_row(row, percentile)
            yield {"label": f"{row[1]} thread{'s' * (row[1] > 1)}, {label}", "values": values, "tags": tags}


def plot(samples, row, operation, columns, labels):
    series = {}
    for column, label in zip(columns, labels):
        results = samples[row].get(column)
        if results and results[0]["operation_ns"][operation]:
            series[label] = [[at, statistics.median(r["operation_ns"][operation][p] for r in results)]
                             for at, p in enumerate(CURVE)]
    return {"name": f"latency-{operation}", "title": f"{operation}, {row[1]} thread{'s' * (row[1] > 1)}",
            "x": "percentile", "y": "ns", "logy": True, "series": series,
            "ticks": ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "max"]}


def bench_latency(options):
    libraries = find_libraries(options)
    program = bench_program(options, "rcu_bench")
    part = Measurement("latency", options, {**libraries, "rcu_bench": program})
    suite = rcu.Suite(program, options)
    columns = columns_of(libraries)
    samples = part.measure([("latency", count) for count in options.threads], columns,
                           lambda row, column: suite.run(row, column, libraries, options.scale))
    names, methods = list(libraries), ["free_rcu", *PEERS]

    def of_allocators(operation):
        def read(row, percentile):
            found = {name: samples[row][("plain", name)] for name in names}
            return {name: statistics.median(map(reading(operation, percentile), results))
                    for name, results in found.items() if results}, {}
        return list(rows_of(samples, options.threads, read))

    def of_methods(operation):
        def read(row, percentile):
            found = rcu.cells(samples, row, methods, reading(operation, percentile), False)
            return {m: value for m, (value, _) in found.items()}, {m: tag for m, (_, tag) in found.items()}
        return list(rows_of(samples, options.threads, read))

    tables = [table(f"latency of {operation}, ns", names, of_allocators(operation), glance=f"latency of {operation}")
              for operation in ("malloc", "free")]
    tables.append(table("latency of retiring, ns", methods, of_methods("retire"), ["free_rcu"],
                        glance="latency of retiring"))
    tables.append(table("latency of a quiescent state, ns: where a method does its work", methods,
                        of_methods("quiescent"), ["free_rcu"]))
    most = ("latency", options.threads[-1])
    plots = [plot(samples, most, operation, [("plain", name) for name in names], names)
             for operation in ("malloc", "free")]
    plots.append(plot(samples, most, "retire", [c for c in columns if c[0] != "plain"],
                      ["/".join(c) for c in columns if c[0] != "plain"]))
    clocks = [r for row in samples.values() for results in row.values() for r in results][:1]
    return part.report(tables, plots, [
        *(f"clock: {r['clock']}, which advances in steps of {r['clock_step_ns']} ns; reading it takes "
          f"{r['clock_overhead_ns']} ns, already taken off: a percentile is no finer than a step, and 0 is less "
          "than one; the mean is finer" for r in clocks),
        "retiring: each cell is the best allocator under that method (g glibc, j jemalloc, m mimalloc, t tcmalloc)",
        "a max of milliseconds is the scheduler's: another process had the core"])
