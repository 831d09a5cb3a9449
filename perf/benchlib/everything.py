"""perf/bench all: every part, one after the other, within a budget of minutes."""
import os
import time

from benchlib import common, parts, render

DEFAULT_FILE = os.path.join(common.ROOT, "perf", "results.json")
LEAST_SCALE = 0.05
RCU_PATTERNS = "pair-64,pair-random,hash-10,hash-50,list-50,tree-50,hash-beside,kfree"
RCU_METHODS = "plain,leak,free_rcu,free_rcu_try,call_rcu,call_rcu_percpu,defer_rcu,ck_epoch"
RCU_SECONDS = 250        # a round of those, with two numbers of threads
SHARES = {  # percent of the budget, and how many rounds the scale is chosen for; more are run if time is left
    "malloc": (14, 3), "rcu": (20, 2), "programs": (19, 2), "scaling": (13, 2), "growth": (10, 1), "memory": (17, 1),
    "latency": (7, 2)}
SMOKE = {"rcu": ["--patterns", "pair-64,hash-50", "--threads", "2", "--methods", "free_rcu,call_rcu,ck_epoch"],
         "scaling": ["--threads", "1,2"], "growth": ["--live", "1000,10000"], "memory": ["--idle", "0.05"],
         "latency": ["--live", "1000"]}
SMOKE_SCALE = 0.002


def add_parser(suites):
    suite = suites.add_parser("all", help="every part, into RESULTS.md", allow_abbrev=False)
    suite.add_argument("--budget", type=float, default=40, metavar="MINUTES", help="end by then, default 40; with "
                       "less, work and runs are fewer; below 10 some rows are left out")
    suite.add_argument("--parts", type=common.comma_list(parts.PARTS), default=list(parts.PARTS), help="default all")
    suite.add_argument("--allocators", type=common.comma_list(common.ALLOCATORS), default=common.ALLOCATORS,
                       help=f"default {','.join(common.ALLOCATORS)}")
    suite.add_argument("--json", metavar="FILE", default=DEFAULT_FILE, help="default perf/results.json; RESULTS.md and "
                       "plots/ are written beside it, and every sample into out/")
    suite.add_argument("--smoke", action="store_true", help="tiny: shows that every part works, and no more")
    suite.add_argument("--build", default=os.path.join(common.ROOT, "build"), help="default build")
    suite.set_defaults(run=lambda options: run(options, suites))


def part_options(name, options, suites):
    """As if the part's own command line had been given."""
    arguments = ["--allocators", ",".join(options.allocators), "--build", options.build]
    if options.smoke:
        arguments += SMOKE.get(name, [])
    elif name == "rcu":
        cores = len(os.sched_getaffinity(0))
        arguments += ["--patterns", RCU_PATTERNS, "--methods", RCU_METHODS, "--threads", f"1,{max(2, cores)}"]
    return suites.choices[name].parse_args(arguments)


def run(options, suites):
    end = time.monotonic() + 58 * options.budget  # of 60: a row once begun is finished
    results, failed = render.load(options.json), False
    out = os.path.join(os.path.dirname(os.path.abspath(options.json)), "out")
    os.makedirs(out, exist_ok=True)
    left = [name for name in parts.PARTS if name in options.parts]
    while left:
        name = left[0]
        part, mine = parts.PARTS[name], part_options(name, options, suites)
        share, rounds = SHARES[name]
        seconds = (end - time.monotonic()) * share / sum(SHARES[other][0] for other in left)
        left.pop(0)
        a_round = RCU_SECONDS if name == "rcu" else part.module.SECONDS_A_ROUND
        a_round *= max(1, len(options.allocators)) / len(common.ALLOCATORS)
        mine.runs, mine.scale = part.runs, min(1, max(LEAST_SCALE, seconds / (rounds * a_round)))
        mine.deadline = time.monotonic() + max(1, seconds)
        if options.smoke:
            mine.runs, mine.scale, mine.deadline = 1, SMOKE_SCALE, None
        print(f"\n======== {name}: {part.what}; {max(0, seconds) / 60:.1f} minutes\n", flush=True)
        try:
            report = part.bench(mine)
        except SystemExit as why:
            print(f"FAILED: {name}: {why}")
            failed = True
            continue
        parts.show(report)
        failed |= bool(report["failed"])
        common.write_json(os.path.join(out, name + ".json"), report)
        render.put(results, report)
        results["parts"] = {name: results["parts"][name] for name in parts.PARTS if name in results["parts"]}
        common.write_json(options.json, results)
        render.render(options.json, results)  # after each part: what was measured stays, whatever comes
    return 1 if failed else 0
