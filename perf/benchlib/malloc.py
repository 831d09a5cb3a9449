"""perf/bench malloc: the malloc entry points, by preload."""
import math
import os
import statistics
import subprocess
import time

from benchlib.common import (Measurement, bench_program, find_libraries, medians, output_of, preloading, progress,
                             run_json)
from benchlib.tables import mean, ratios, table

SECONDS_A_ROUND = 60  # at scale 1, with all allocators, on 2 cores
STARTS = 200
LIMITS = {"each": 1.03, "geomean": 1.03, "worst": 1.3, "startup_ms": 1.0}


def measure_startup(libraries, starts):
    """Milliseconds from before exec to after exit of /bin/true: the median; None where it failed."""
    times = {name: [] for name in libraries}
    names = list(libraries)
    environments = {name: preloading(libraries[name]) for name in names}
    for name in names:  # ld.so only warns about a library it cannot load
        first = subprocess.run(["/bin/true"], env=environments[name], capture_output=True, text=True)
        if first.returncode != 0 or "cannot be preloaded" in first.stderr:
            times[name].append(math.inf)
    names = [name for name in names if not times[name]]
    progress("start-up")
    for start in range(starts):
        for name in names[start % len(names):] + names[:start % len(names)]:
            before = time.perf_counter()
            child = os.posix_spawn("/bin/true", ["true"], environments[name])
            status = os.waitpid(child, 0)[1]
            times[name].append((time.perf_counter() - before) * 1000)
            if status != 0:
                times[name].append(math.inf)
    progress("")
    return {name: None if math.inf in times[name] else statistics.median(times[name]) for name in libraries}


# ---- judging ----

def ratio(row):
    """qslab to the fastest (leanest) peer."""
    return ratios({"peers": [name for name in row if name != "qslab"], "more": False, "ours": ["qslab"]},
                  {"values": row}).get("qslab") if "qslab" in row else None


def verdict(names, speed, single, speed_means, rss_means, startup):
    """What must be reached: (what, met, the fact); met is None where it could not be measured."""
    lines = []

    def fact(what, value, limit, text):
        known = value is not None
        lines.append((what, value <= limit if known else None, text if known else "not measured"))

    known = {}
    if "qslab" in names and len(names) > 1:
        known = {p: math.inf if ratio(row) is None else ratio(row) for p, row in speed.items()}
    if math.inf in known.values():  # a failed pattern is missed, and leaves no mean to judge
        speed_means = rss_means = {}

    def over(limit, patterns):
        slow = sorted(((known[p], p) for p in patterns if known.get(p, 0) > limit), reverse=True)
        return ", ".join(f"{p} failed" if value == math.inf else f"{p} {value:.2f}x"
                         for value, p in slow) or "none over"

    known_single = [p for p in single if p in known]
    fact("each single-thread pattern within 3 % of the fastest",
         max((known[p] for p in known_single), default=None), LIMITS["each"],
         f"{sum(known[p] <= LIMITS['each'] for p in known_single)} of {len(known_single)}; "
         + over(LIMITS["each"], known_single))
    mean = ratio(speed_means)
    fact("geometric mean of all within 3 % of the fastest", mean, LIMITS["geomean"],
         f"{mean or 0:.3f}x the fastest peer's")
    fact("no pattern over 1.3x the fastest", max(known.values(), default=None), LIMITS["worst"],
         over(LIMITS["worst"], known))
    lean = [rss_means[name] for name in ("jemalloc", "tcmalloc") if name in rss_means]
    rss = rss_means["qslab"] / min(lean) if lean and "qslab" in rss_means else None
    fact("peak RSS geometric mean no more than the leaner of jemalloc and tcmalloc", rss, 1.0,
         f"{rss or 0:.3f}x")
    late = None
    if startup.get("qslab") is not None and startup.get("jemalloc") is not None:
        late = startup["qslab"] - startup["jemalloc"]
    fact("start-up within 1 ms of jemalloc's", late, LIMITS["startup_ms"], f"{late or 0:+.2f} ms")
    return lines


# ---- the suite ----

def patterns_of(program, *wanted):
    """{pattern: class} of the classes wanted."""
    lines = [line.split("\t")[:2] for line in output_of(program, "--list").splitlines()]
    return {name: kind for name, kind in lines if kind in wanted}


def bench_malloc(options):
    program = bench_program(options, "malloc_bench")
    classes = patterns_of(program, "single", "multi")
    patterns = options.patterns or list(classes)
    for pattern in patterns:
        if pattern not in classes:
            options.parser.error(f"unknown pattern {pattern}; malloc_bench --list names them")
    libraries = find_libraries(options)
    names = list(libraries)
    part = Measurement("malloc", options, {**libraries, "malloc_bench": program})
    samples = part.measure(patterns, names, lambda pattern, name: run_json(
        [program, pattern, "--scale", str(options.scale)], libraries[name]))
    patterns = [p for p in patterns if p not in part.late]
    startup = measure_startup(libraries, max(5, int(STARTS * min(1, options.scale))))
    for name in names:
        if startup[name] is None:
            part.fail(name, "start-up", "/bin/true failed, or ran without the preload")

    def means(values, chosen):
        """Over the patterns that every allocator finished, so that they stay comparable."""
        whole = [p for p in chosen if all(name in values[p] for name in names)]
        return {name: mean(values[p][name] for p in whole) for name in names} if whole else {}

    def rows(values, which):
        return [(p, values[p]) for p in patterns] + [
            {"label": f"geometric mean, {label}", "values": row, "ratios": ratio_of(row)}
            for label, row in which.items() if row]

    single = [p for p in patterns if classes[p] == "single"]
    speed, rss = medians(samples, "ns_per_op"), medians(samples, "peak_rss_kib")
    speed_means = {"single-thread": means(speed, single), "all": means(speed, patterns)}
    rss_means = means(rss, patterns)
    facts = verdict(names, {p: speed[p] for p in patterns}, single, speed_means["all"], rss_means, startup)
    return part.report([
        table("ns per operation", names, rows(speed, speed_means), glance="time of malloc and free"),
        table("peak RSS, KiB", names, rows(rss, {"all": rss_means}), glance="peak RSS"),
        table("start-up of /bin/true, ms", names, [("exec to exit", startup)])],
        facts=[{"what": what, "met": met, "fact": text} for what, met, text in facts])


def ratio_of(row):
    value = ratio(row)
    return {} if value is None else {"qslab": value}
