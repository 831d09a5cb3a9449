"""perf/bench render: RESULTS.md and its plots, from the JSON file of perf/bench all."""
import json
import os
import shutil
import subprocess

from benchlib import tables
from benchlib.common import write_json

COLOURS = {"qslab": "#d62728", "free_rcu": "#d62728", "glibc": "#7f7f7f", "jemalloc": "#1f77b4", "mimalloc": "#2ca02c",
           "tcmalloc": "#9467bd", "call_rcu": "#1f77b4", "call_rcu_percpu": "#17becf", "defer_rcu": "#2ca02c",
           "ck_epoch": "#9467bd", "live": "#000000"}
RCU_PEERS = ["call_rcu", "call_rcu_percpu", "defer_rcu", "ck_epoch"]
HEAD = """# Results

Written by `perf/bench render`, from `{source}`; do not edit. [README.md](README.md) says what is measured, and how to
read it. All of it again: `perf/bench all`. One part again: `perf/bench PART --json part.json`, then
`perf/bench render perf/{source} part.json`.

{machine}
"""
GLANCE = """## At a glance

What we take, divided by what the other takes: geometric means over each part's rows. Below 1 we are ahead, whatever is
measured; **bold** where by more than 3 %.
"""


def add_parser(suites):
    suite = suites.add_parser("render", help="RESULTS.md and its plots again, from JSON files", allow_abbrev=False)
    suite.add_argument("all", metavar="ALL.json", help="of perf/bench all; RESULTS.md is written beside it")
    suite.add_argument("parts", metavar="PART.json", nargs="*",
                       help="of perf/bench PART --json: takes that part's place")
    suite.set_defaults(run=run)


def run(options):
    results = load(options.all)
    for path in options.parts:
        with open(path) as file:
            put(results, json.load(file))
    if options.parts:
        write_json(options.all, results)
    render(options.all, results)
    return 0


# ---- the JSON file ----

def load(path):
    if not os.path.exists(path):
        return {"parts": {}}
    with open(path) as file:
        return json.load(file)


def put(results, report):
    """All but the samples, which `perf/bench PART --json` keeps."""
    results["parts"][report["suite"]] = {key: value for key, value in report.items() if key != "samples"}


# ---- the summary ----

def glances(results, ours, peers):
    """(part, what, {peer: ours divided by the peer's}), below 1 where we are ahead."""
    for name, report in results["parts"].items():
        titles = dict.fromkeys(t["glance"] for t in report["tables"] if t["glance"] and t["ours"][:1] == [ours])
        for title in titles:
            found = {peer: [] for peer in peers}
            for what in report["tables"]:
                if what["glance"] != title or ours not in what["ours"]:
                    continue
                for row in what["rows"]:
                    for peer in peers:
                        a, b = row["values"].get(ours), row["values"].get(peer)
                        if a and b and "ratios" not in row:
                            found[peer].append(b / a if what["more"] else a / b)
            values = {peer: tables.mean(ratios) for peer, ratios in found.items() if ratios}
            if values:
                yield name, title, values


def summary(results, heading, ours, peers):
    lines = [f"| {heading} | " + " | ".join(f"vs {peer}" for peer in peers) + " |", "|---|" + "---:|" * len(peers)]
    for part, title, values in glances(results, ours, peers):
        cells = [("-" if peer not in values else f"**{values[peer]:.2f}**" if values[peer] < 0.97
                  else f"{values[peer]:.2f}") for peer in peers]
        lines.append(f"| {title} ([{part}](#{part})) | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def machine_of(report):
    machine = report["machine"]
    return (f"Machine: {machine['cpu_model_name']}, family {machine['cpu_family']}, model {machine['cpu_model']}; "
            f"{machine['cores']} cores; {machine['memory_mib'] / 1024:.0f} GiB; Linux {machine['kernel']}; "
            f"{machine['glibc']}; transparent huge pages: {machine['transparent_huge_pages']}.")


# ---- the page ----

def part_text(name, report, machine, drawn):
    runs = report["runs"]
    lines = [f"## {name}\n", f"Median of {runs} run{'s' * (runs != 1)} at scale {report['scale']:.3g}; load before: "
             f"{report['machine']['load_before']}.\n"]
    if machine_of(report) != machine:
        lines.append(machine_of(report) + "\n")
    lines += [f"* {note}" for note in report["notes"]]
    lines += [f"* FAILED: {f['column']}, {f['row']}: {f['why']}" for f in report["failed"]]
    lines.append("")
    for fact in report.get("facts", ()):
        state = "not measured" if fact["met"] is None else "met" if fact["met"] else "missed"
        lines.append(f"* {state}: {fact['what']}: {fact['fact']}")
    lines.append("")
    lines += [tables.as_markdown(what) for what in report["tables"]]
    lines += [f"![{plot['title']}](plots/{plot['name']}.svg)\n" for plot in report["plots"] if plot["name"] in drawn]
    return "\n".join(lines)


def render(path, results):
    folder = os.path.dirname(os.path.abspath(path))
    reports = results["parts"]
    if not reports:
        return
    machine = machine_of(next(iter(reports.values())))
    drawn = draw([plot for report in reports.values() for plot in report["plots"]], os.path.join(folder, "plots"))
    text = [HEAD.format(source=os.path.basename(path), machine=machine), GLANCE,
            summary(results, "qslab", "qslab", tables.ALLOCATOR_PEERS),
            summary(results, "free_rcu", "free_rcu", RCU_PEERS)]
    if not drawn:
        text.append("No plots: gnuplot was not there.\n")
    text += [part_text(name, report, machine, drawn) for name, report in reports.items()]
    with open(os.path.join(folder, "RESULTS.md"), "w") as file:
        file.write("\n".join(text).rstrip("\n") + "\n")


# ---- plots ----

def script_of(plot, path):
    series = {name: points for name, points in plot["series"].items() if points}
    lines = ["set terminal svg size 900,480 noenhanced background '#ffffff' font 'sans-serif,13'",
             f"set output '{path}'",
             f"set title '{plot['title']}'", f"set xlabel '{plot['x']}'", f"set ylabel '{plot['y']}'",
             "set key outside right", "set grid", "set yrange [0:*]"]
    if plot.get("logx"):
        lines += [f"set logscale x {plot['logx']}", "set format x '%.0f'"]
    if plot.get("logy"):
        lines += ["set logscale y", "set yrange [*:*]"]
    if plot.get("ticks"):
        lines.append("set xtics (" + ", ".join(
            f"'{tick.replace('%', '%%')}' {at}" for at, tick in enumerate(plot["ticks"])) + ")")
    curves = []
    for number, (name, points) in enumerate(series.items()):
        lines += [f"$data{number} << end", *(f"{x} {max(y, 1) if plot.get('logy') else y}" for x, y in points), "end"]
        method, _, allocator = name.partition("/")
        colour = COLOURS.get(method, "#888888")
        dash = {"": 1, "qslab": 1, "glibc": 2, "jemalloc": 3, "mimalloc": 4, "tcmalloc": 5}.get(allocator, 1)
        width = 3 if method in ("qslab", "free_rcu") else 1.5
        style = f"linecolor rgb '{colour}' dashtype {dash} linewidth {width}"
        style = (f"with lines {style}" if len(points) > 30
                 else f"with linespoints {style} pointtype {number + 4} pointsize 0.6")
        curves.append(f"$data{number} {style} title '{name}'")
    return "\n".join([*lines, "plot " + ", ".join(curves)]) + "\n" if series else ""


def draw(plots, folder):
    """The names of those drawn."""
    if not shutil.which("gnuplot"):
        print("gnuplot is not here: no plots (perf/bench --install gets it)")
        return set()
    os.makedirs(folder, exist_ok=True)
    drawn = set()
    for plot in plots:
        script = script_of(plot, os.path.join(folder, plot["name"] + ".svg"))
        if not script:
            continue
        done = subprocess.run(["gnuplot"], input=script, text=True, capture_output=True)
        if done.returncode == 0:
            drawn.add(plot["name"])
        else:
            print(f"no plot {plot['name']}: gnuplot says {done.stderr.strip()[-200:]}")
    return drawn
