"""perf/bench malloc: the malloc entry points, by preload."""
import math
import os
import statistics
import subprocess
import sys
import time

from benchlib.common import (PEERS, QUICK_SCALE, digits_for, find_libraries, fingerprint, geomeans, heading,
                             machine_properties, measure, medians, output_of, peer_version, preloading,
                             progress, run_json, write_json)

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
    peers = [value for name, value in row.items() if name != "qslab"]
    return row["qslab"] / min(peers) if "qslab" in row and peers else None


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


# ---- printing ----

def print_table(title, names, rows):
    """rows: (label, {allocator: value}, digits after the point)."""
    print(f"\n{title}\n")
    width = max(len(label) for label, _, _ in rows)
    print(" " * width + "".join(f"{name:>12}" for name in names) + f"{'qslab/best':>12}")
    for label, row, digits in rows:
        cells = [f"{row[name]:12,.{digits}f}" if row.get(name) is not None else f"{'-':>12}" for name in names]
        value = ratio({k: v for k, v in row.items() if v is not None})
        print(f"{label:<{width}}" + "".join(cells) + (f"{value:12.2f}" if value is not None else f"{'-':>12}"))


def bench_malloc(options):
    program = os.path.join(options.build, "perf", "malloc_bench")
    if not os.path.exists(program):
        print("malloc_bench is not built: cmake -B build && cmake --build build", file=sys.stderr)
        return 1
    classes = dict(line.split("\t")[:2] for line in output_of(program, "--list").splitlines())
    patterns = options.patterns or list(classes)
    for pattern in patterns:
        if pattern not in classes:
            options.parser.error(f"unknown pattern {pattern}; malloc_bench --list names them")
    libraries = find_libraries(options)
    if not libraries:
        print("nothing to measure", file=sys.stderr)
        return 1

    machine = machine_properties()
    files = {name: path for name, path in {**libraries, "malloc_bench": program}.items() if path}
    sha256 = {name: fingerprint(path) for name, path in files.items()}
    scale = QUICK_SCALE if options.quick else 1
    names = list(libraries)
    samples, failures = measure(
        patterns, names,
        lambda pattern, name: run_json([program, pattern, "--scale", str(scale)], libraries[name]), options.runs)
    startup = measure_startup(libraries, STARTS // 4 if options.quick else STARTS)

    single = [p for p in patterns if classes[p] == "single"]
    speed, rss = medians(samples, "ns_per_op"), medians(samples, "peak_rss_kib")
    means = {"single-thread": geomeans(speed, single, names), "all": geomeans(speed, patterns, names)}
    rss_means = geomeans(rss, patterns, names)
    facts = verdict(names, speed, single, means["all"], rss_means, startup)

    print(heading(machine, options.runs, scale))
    print_table("ns per operation", names, [(p, speed[p], digits_for(speed[p])) for p in patterns]
                + [(f"geometric mean, {which}", mean, digits_for(mean)) for which, mean in means.items() if mean])
    print_table("peak RSS, KiB", names, [(p, rss[p], 0) for p in patterns]
                + ([("geometric mean", rss_means, 0)] if rss_means else []))
    print_table("start-up of /bin/true, ms", names, [("exec to exit", startup, 2)])
    print("\nto reach\n")
    for what, met, text in facts:
        print(f"{'n/a' if met is None else 'met' if met else 'missed':>6}  {what}: {text}")
    failed = [(name, p, why) for p, row in failures.items() for name, why in row.items()]
    failed += [(name, "start-up", "/bin/true failed, or ran without the preload")
               for name in names if startup[name] is None]
    failed += [(name, "all", "its file changed during the run: the samples are of two builds")
               for name, path in files.items() if fingerprint(path) != sha256[name]]
    for name, pattern, why in failed:
        print(f"FAILED: {name}, {pattern}: {why}")

    if options.json:
        report = {
            "suite": "malloc", "runs": options.runs, "scale": scale, "machine": machine,
            "sha256": sha256,
            "peer_versions": {name: peer_version(name) for name in names if name in PEERS},
            "patterns": {p: {"class": classes[p], "samples": {
                name: [{key: s[key] for key in ("ns_per_op", "operations", "peak_rss_kib", "bench_kib")}
                       for s in results] for name, results in samples[p].items()},
                "median_ns_per_op": speed[p], "median_peak_rss_kib": rss[p]} for p in patterns},
            "geomean_ns_per_op": means, "geomean_peak_rss_kib": rss_means, "startup_ms": startup,
            "verdict": [{"what": what, "met": met, "fact": text} for what, met, text in facts],
            "failed": [{"allocator": name, "pattern": p, "why": why} for name, p, why in failed],
        }
        write_json(options.json, report)
    return 1 if failed else 0
