"""perf/bench scaling: the same work by more and more threads, up to more than cores; and how often qslab touches
what threads share, which needs no cores to show."""
import os
import re
import subprocess

from benchlib import rcu
from benchlib.common import Failure, Measurement, ROOT, bench_program, find_libraries, medians, run_json
from benchlib.tables import table

SECONDS_A_ROUND = 130  # at scale 1, with all allocators, on 2 cores
MALLOC = ["threads-ring", "producer-consumer-random", "server"]
RCU = "pair-64"
PEERS = ["call_rcu", "call_rcu_percpu", "defer_rcu", "ck_epoch"]
MOST = 64              # rcu_bench's
COUNTS = {"lock": "locks taken", "lock_wait": "locks waited for", "atomic": "atomics, with the locks'",
          "fence": "fences"}


def add_options(suite):
    suite.add_argument("--threads", type=rcu.thread_list, help="default 1, 2, 4, ... to 16 or twice the cores")
    suite.add_argument("--no-counts", action="store_true", help="do not build and run the library that counts")


def default_threads():
    cores = len(os.sched_getaffinity(0))
    counts = [1]
    while counts[-1] < min(MOST, max(16, 2 * cores)):
        counts.append(2 * counts[-1])
    return counts


def counting_library(build):
    """Made beside the build if it is not there, or not of today."""
    folder = os.path.join(build, "count")
    for command in (["cmake", "-S", ROOT, "-B", folder, "-DQSLAB_COUNT=ON", "-DQSLAB_TESTS=OFF"],
                    ["cmake", "--build", folder, "--target", "qslab-malloc", "--parallel"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure("the library that counts was not built: " + (done.stderr or done.stdout)[-200:])
    return os.path.join(folder, "lib", "libqslab-malloc.so")


def command_of(programs, row, method, scale):
    """As much work in all for any number of threads."""
    pattern, threads = row
    if pattern == RCU:
        return [programs["rcu_bench"], pattern, method, "--threads", str(threads), "--scale", str(scale)]
    if pattern == "server":  # terms are whole: 500 a thread at scale 1
        scale = max(scale, threads / 500)
    return [programs["malloc_bench"], pattern, "--threads", str(threads), "--scale", str(scale / threads)]


def counted(part, programs, rows, library, scale):
    """{row: {count: per 1,000 operations}}"""
    def run(row, _):
        result, said = run_json(command_of(programs, row, "free_rcu", scale), library, error_output=True)
        counts = dict(re.findall(r"(\w+) (\d+)", said.partition("qslab: counts: ")[2]))
        if set(counts) != set(COUNTS):
            raise Failure("it printed no counts")
        return {name: int(counts[name]) * 1000 / result["operations"] for name in COUNTS}
    samples = part.measure(rows, ["counting"], run, 1, 0.25)
    return {row: {label: results[0][name] for name, label in COUNTS.items()}
            for row, found in samples.items() for results in found.values() if results}


def rows_of(values, pattern, threads):
    return [(f"{count} thread{'s' * (count > 1)}", values[pattern, count]) for count in threads
            if values.get((pattern, count))]


def plot_of(what, pattern):
    series = {column: [[int(row["label"].split()[0]), row["values"][column]] for row in what["rows"]
                       if column in row["values"]] for column in what["columns"]}
    return {"name": f"scaling-{pattern}", "title": f"{pattern}: operations a microsecond, all threads together",
            "x": "threads", "y": "operations a microsecond", "logx": 2, "series": series}


def bench_scaling(options):
    libraries = find_libraries(options)
    names = list(libraries)
    programs = {name: bench_program(options, name) for name in ("malloc_bench", "rcu_bench")}
    threads = options.threads or default_threads()
    patterns = options.patterns or [*MALLOC, RCU]
    for name in patterns:
        if name not in [*MALLOC, RCU]:
            options.parser.error(f"unknown {name!r}; known: {', '.join([*MALLOC, RCU])}")
    part = Measurement("scaling", options, {**libraries, **programs})
    tables, plots, notes, counts = [], [], [], {}
    rows = [(pattern, count) for pattern in patterns for count in threads
            if count > 1 or not pattern.startswith("producer")]
    if "qslab" in libraries and not options.no_counts:
        try:
            counts = counted(part, programs, rows, counting_library(options.build), options.scale)
        except Failure as failure:
            part.fail("qslab", "counts", str(failure))

    def per_us(found):
        return medians(found, lambda r: 1000 / r["ns_per_op"])

    samples = part.measure([row for row in rows if row[0] != RCU], names, lambda row, name: run_json(
        command_of(programs, row, None, options.scale), libraries[name]), share=0.75)
    for pattern in [p for p in MALLOC if p in patterns]:
        made = rows_of(per_us(samples), pattern, threads)
        tables.append(table(f"{pattern}: operations a microsecond", names, made, more=True, glance="many threads"))
        plots.append(plot_of(tables[-1], pattern))
    if RCU in patterns:
        peer = next((name for name in ("jemalloc", "glibc", "mimalloc", "tcmalloc") if name in libraries), None)
        columns = ([("free_rcu", "qslab")] * ("qslab" in libraries) + [(m, peer) for m in PEERS if peer])
        found = part.measure([row for row in rows if row[0] == RCU], columns, lambda row, column: run_json(
            command_of(programs, row, column[0], options.scale), libraries[column[1]]))
        values = {row: {method: v for (method, _), v in known.items()} for row, known in per_us(found).items()}
        tables.append(table(f"{RCU}, deferred free: operations a microsecond", ["free_rcu", *PEERS],
                            rows_of(values, RCU, threads), ["free_rcu"], more=True, glance="retiring by many threads"))
        plots.append(plot_of(tables[-1], RCU))
        notes.append(f"{RCU}: the peers' methods run over {peer}")
    for pattern in patterns:
        tables.append(table(f"{pattern}: qslab's shared accesses per 1,000 operations", list(COUNTS.values()),
                            rows_of(counts, pattern, threads), [], []))
    cores = part.machine["cores"]
    return part.report(tables, plots, [
        *notes, f"{cores} cores: more threads than that take turns", "shared accesses: of a build that counts them "
        "(QSLAB_COUNT); where they do not grow with the threads, nor does what the threads wait for"])
