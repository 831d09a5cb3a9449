"""perf/bench memory: how much is resident at the peak, and after a while without work."""
from benchlib.common import Measurement, bench_program, find_libraries, medians, run_json
from benchlib.malloc import patterns_of
from benchlib.tables import table

SECONDS_A_ROUND = 170  # at scale 1, with all allocators, on 2 cores; 7 s of each run do not scale
NOT_HERE = 4           # malloc_bench's exit status: the kernel cannot set this for a process
DAYS = "server-days"


def add_options(suite):
    suite.add_argument("--idle", type=float, default=5, help="seconds without work before the last look, default 5")


def huge_page_modes(part):
    """({label: arguments}, notes). The kernel lets a process turn huge pages off, or leave them to who asks for
    them by madvise; it lets none turn them on that the system's setting keeps off."""
    setting = part.machine["transparent_huge_pages"]
    if setting == "always":
        return {"THP always": [], "THP madvise": ["--thp", "advised"]}, []
    return {f"THP {setting}": []}, [
        f"transparent huge pages: the system says {setting}, and no process can choose always by itself (prctl can "
        "only restrict); what always would do is not measured here"]


def plot_of(samples, names, suffix):
    """Resident memory over time, by share of the work, for that takes each allocator another time."""
    series = {}
    for name in names:
        for result in samples[name][:1]:
            every = result["samples"]
            series[name] = [[100 * at / (len(every) - 1), rss / 1024] for at, (_, _, rss) in enumerate(every)]
            series["live"] = [[100 * at / (len(every) - 1), live / 1024] for at, (_, live, _) in enumerate(every)]
    return {"name": "memory-server", "title": f"A server over three days{suffix}", "x": "percent of the work",
            "y": "MiB resident", "series": series}


def bench_memory(options):
    libraries = find_libraries(options)
    names = list(libraries)
    program = bench_program(options, "malloc_bench")
    known = list(patterns_of(program, "memory"))
    patterns = options.patterns or [DAYS, *(pattern for pattern in known if pattern != DAYS)]
    for pattern in patterns:
        if pattern not in known:
            options.parser.error(f"unknown {pattern!r}; known: {', '.join(known)}")
    part = Measurement("memory", options, {**libraries, "malloc_bench": program})
    modes, notes = huge_page_modes(part)
    refused = set()

    def run(row, name):
        pattern, mode = row
        result = run_json([program, pattern, "--scale", str(options.scale), "--idle", str(options.idle),
                           *modes[mode]], libraries[name], (NOT_HERE,))
        if result == NOT_HERE:
            refused.add(mode)
            return None
        return result

    rows = [(pattern, mode) for mode in modes for pattern in patterns]
    samples = part.measure(rows, names, run)
    notes += [f"{mode}: this kernel cannot set it for one process (PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18)"
              for mode in refused]

    def made(metric):
        found = medians(samples, metric)
        return [(", ".join(row), found[row]) for row in rows if found[row]]

    def own(field):
        return lambda r: (r[field] - r["bench_kib"]) / 1024

    some = {row: next((r for results in samples[row].values() for r in results), None) for row in rows}
    live = [(", ".join(row), {"peak": r["peak_live_kib"] / 1024, "after idle": r["idle_live_kib"] / 1024})
            for row, r in some.items() if r]
    over_time = [(", ".join(row), medians({row: samples[row]}, lambda r: sum(
        rss for _, _, rss in r["samples"]) / len(r["samples"]) / 1024)[row]) for row in rows if row[0] == DAYS]
    plots = [plot_of(samples[row], [name for name in names if samples[row][name]], f", {row[1]}")
             for row in rows[:len(patterns)] if row[0] == DAYS]
    return part.report([
        table("peak RSS, MiB", names, made(own("peak_rss_kib")), glance="peak RSS of hard cases"),
        table(f"RSS after {options.idle:g} s without work, MiB", names, made(own("idle_rss_kib")),
              glance="RSS after idling"),
        table("RSS of the server, mean over time, MiB", names, over_time, glance="RSS of a server over time"),
        table("live bytes then, MiB", ["peak", "after idle"], live, [], []),
    ], plots, [*notes, "without the bench's own arrays; with the program and its libraries, 2 MiB or so"])
