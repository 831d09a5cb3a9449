#!/usr/bin/env python3
"""ctest perf/smoke: every part of perf/bench with tiny counts, and perf/misuse, and whether what they write is sane.

  perf/smoke.py BUILD
"""
import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

sys.dont_write_bytecode = True

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench")
PARTS = ["malloc", "rcu", "programs", "scaling", "growth", "memory", "latency"]
PATTERNS = "ring,server"


def check(right, what):
    if not right:
        raise SystemExit(f"FAILED: {what}")


def bench(*arguments):
    done = subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True)
    check(done.returncode == 0, f"perf/bench {' '.join(arguments)}: status {done.returncode}\n"
          f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def load(path):
    with open(path) as file:
        return json.load(file)


def check_report(name, report):
    check(report["tables"], f"{name} has no table")
    check(not report["failed"], f"{name}: {report['failed']}")
    check(report["runs"] >= 1 and report["machine"]["cores"] >= 1, f"{name}: runs, machine")
    for table in report["tables"]:
        values = [value for row in table["rows"] for value in row["values"].values()]
        check(values, f"{name}: nothing in {table['title']}")
        check(all(math.isfinite(value) and value >= 0 for value in values), f"{name}: {table['title']}: {values}")
        check(any(value > 0 for value in values), f"{name}: only zeroes in {table['title']}")
    ours = {column for table in report["tables"] for column in table["ours"]}
    check(ours & {"qslab", "free_rcu"}, f"{name} compares nothing of ours")


def check_results(folder):
    parts = load(os.path.join(folder, "results.json"))["parts"]
    check(list(parts) == PARTS, f"parts {list(parts)}")
    for name, report in parts.items():
        check_report(name, report)
        check(load(os.path.join(folder, "out", name + ".json"))["samples"], f"{name} keeps no samples")
    with open(os.path.join(folder, "RESULTS.md")) as file:
        text = file.read()
    check(all(f"\n## {name}\n" in text for name in PARTS) and "At a glance" in text, "RESULTS.md lacks a part")
    for name in (socket.gethostname(), folder, BENCH, os.path.expanduser("~")):
        check(len(name) < 4 or name not in text, "RESULTS.md names the machine, or a path")
    plots = {plot["name"] for report in parts.values() for plot in report["plots"]}
    if "No plots" in text:
        print("gnuplot is not here: no plots to check")
        return
    for name in plots:
        root = xml.etree.ElementTree.parse(os.path.join(folder, "plots", name + ".svg")).getroot()
        check(root.tag.endswith("svg") and len(list(root.iter())) > 20, f"{name}.svg is empty")
        check(f"(plots/{name}.svg)" in text, f"RESULTS.md does not show {name}.svg")


def check_one_part(folder, build):
    """A part by itself takes its place in the results."""
    results, part = os.path.join(folder, "results.json"), os.path.join(folder, "part.json")
    before = load(results)["parts"]
    bench("malloc", "--quick", "--patterns", PATTERNS, "--allocators", "qslab,glibc", "--build", build, "--json", part)
    bench("render", results, part)
    after = load(results)["parts"]
    labels = [row["label"] for row in after["malloc"]["tables"][0]["rows"]]
    check(labels[:2] == PATTERNS.split(","), f"the part is not in its place: {labels}")
    check(all(after[name] == before[name] for name in PARTS if name != "malloc"), "another part changed")


def check_misuse(folder, build):
    path = os.path.join(folder, "misuse.json")
    done = subprocess.run([sys.executable, os.path.join(os.path.dirname(BENCH), "misuse"), "--runs", "2", "--cases",
                           "double-free,double-free-merged", "--allocators", "glibc,qslab", "--build", build,
                           "--json", path], capture_output=True, text=True)
    check(done.returncode == 0, f"perf/misuse: status {done.returncode}\n{done.stderr}")
    worst = load(path)["worst"]
    check([cells["qslab"] for cells in worst.values()] == ["caught", "caught"], f"perf/misuse:\n{done.stdout}")
    check(worst["double-free"]["glibc"] == "caught", f"perf/misuse:\n{done.stdout}")
    check(re.search(r"^\| \*\*caught\*\* \| [12] \| 2 \|$", done.stdout, re.M), f"perf/misuse counts:\n{done.stdout}")


def main():
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="qslab-smoke-") as folder:
        bench("all", "--smoke", "--allocators", "qslab,glibc", "--build", build,
              "--json", os.path.join(folder, "results.json"))
        check_results(folder)
        check_one_part(folder, build)
        check_misuse(folder, build)
    print("every part ran, and what it wrote is sane")


if __name__ == "__main__":
    main()
