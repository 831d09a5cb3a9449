"""The parts that perf/bench knows, and how one is run by itself."""
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Callable

from benchlib import common, growth, latency, malloc, memory, programs, rcu, scaling, tables


@dataclass
class Part:
    name: str
    what: str
    bench: Callable     # options -> report
    module: ModuleType  # SECONDS_A_ROUND, and add_options if it has its own
    runs: int = 5       # by default

    def add_options(self, suite):
        getattr(self.module, "add_options", lambda suite: None)(suite)


PARTS = {part.name: part for part in [
    Part("malloc", "the malloc entry points, by preload", malloc.bench_malloc, malloc),
    Part("rcu", "free after a grace period", rcu.bench_rcu, rcu),
    Part("programs", "real programs", programs.bench_programs, programs),
    Part("scaling", "more threads, up to more than cores", scaling.bench_scaling, scaling),
    Part("growth", "more live objects; start-up, threads, fork", growth.bench_growth, growth, 3),
    Part("memory", "resident memory, at the peak and when idle", memory.bench_memory, memory, 2),
    Part("latency", "single calls: percentiles", latency.bench_latency, latency),
]}


def add_parser(suites, part):
    suite = suites.add_parser(part.name, help=part.what, allow_abbrev=False)
    suite.add_argument("--runs", type=common.at_least_one, help=f"default {part.runs}; 1 with --quick")
    suite.add_argument("--patterns", type=common.comma_list(), help="default all")
    suite.add_argument("--allocators", type=common.comma_list(common.ALLOCATORS), default=common.ALLOCATORS,
                       help=f"default {','.join(common.ALLOCATORS)}")
    suite.add_argument("--quick", action="store_true", help="one run of a fifth of the work")
    suite.add_argument("--json", metavar="FILE", help="write everything measured there too")
    suite.add_argument("--build", default=os.path.join(common.ROOT, "build"), help="default build")
    part.add_options(suite)
    suite.set_defaults(parser=suite, run=lambda options: run_alone(part, options), scale=None, deadline=None)
    return suite


def show(report):
    """Prints a report."""
    print(common.heading(report))
    for note in report["notes"]:
        print(f"note: {note}")
    for what in report["tables"]:
        print(tables.as_text(what))
    if report.get("facts"):
        print("\nto reach\n")
    for fact in report.get("facts", ()):
        state = "n/a" if fact["met"] is None else "met" if fact["met"] else "missed"
        print(f"{state:>6}  {fact['what']}: {fact['fact']}")
    for failure in report["failed"]:
        print(f"FAILED: {failure['column']}, {failure['row']}: {failure['why']}")


def run_alone(part, options):
    options.scale = options.scale or (common.QUICK_SCALE if options.quick else 1)
    options.runs = options.runs or (1 if options.quick else part.runs)
    report = part.bench(options)
    show(report)
    if options.json:
        common.write_json(options.json, report)
    return 1 if report["failed"] else 0
