"""What the parts share: the allocators, the machine, interleaved runs, the report."""
import argparse
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEERS = {  # name: (library, Debian package)
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "mimalloc": ("libmimalloc.so.2", "libmimalloc2.0"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
}
ALLOCATORS = ["qslab", "glibc", *PEERS]
QUICK_SCALE = 0.2
TIMEOUT_S = 120  # for one run of one pattern; a hang is a failure, not a time
OUT_OF_TIME = "out of time"


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


# ---- what there is to measure ----

def find_library(name, build):
    """The path to preload; "" for glibc, which needs none; None if it is not here."""
    if name == "glibc":
        return ""
    if name == "qslab":
        candidates = [os.path.join(build, "lib", "libqslab-malloc.so")]
    else:
        triplet = f"{platform.machine()}-linux-gnu"
        candidates = [os.path.join(folder, PEERS[name][0])
                      for folder in (f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/usr/lib")]
    return next((path for path in candidates if os.path.exists(path)), None)


def machine_properties():
    """Nothing that names the machine."""
    with open("/proc/cpuinfo") as file:
        cpu = dict(re.findall(r"^([^\t\n]+?)\t*: (.*)$", file.read(), re.M))
    with open("/proc/meminfo") as file:
        memory_kib = int(re.search(r"MemTotal:\s+(\d+)", file.read())[1])
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            huge_pages = re.search(r"\[(\w+)\]", file.read())[1]
    except OSError:
        huge_pages = "none"
    return {"cores": len(os.sched_getaffinity(0)), "architecture": platform.machine(),
            "cpu_model_name": cpu.get("model name", "unknown"), "cpu_family": cpu.get("cpu family", "unknown"),
            "cpu_model": cpu.get("model", "unknown"),
            "kernel": re.match(r"[\d.]*", platform.release())[0],  # what follows may name a machine
            "memory_mib": memory_kib // 1024, "page_size": os.sysconf("SC_PAGE_SIZE"),
            "transparent_huge_pages": huge_pages, "glibc": os.confstr("CS_GNU_LIBC_VERSION"),
            "load_before": round(os.getloadavg()[0], 2)}


def package_version(package):
    return output_of("dpkg-query", "-W", "-f", "${Version}", package)


def peer_version(name):
    return package_version(PEERS[name][1]) if name in PEERS else ""


def fingerprint(path):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return "gone"


# ---- measuring ----

class Failure(Exception):
    pass


def preloading(library):
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    if library:
        environment["LD_PRELOAD"] = library
    return environment


def run_json(command, library, may_exit=(), error_output=False):
    """What the program printed last; the exit status if it is one of may_exit. With error_output a pair: that,
    and what it wrote to stderr."""
    try:
        done = subprocess.run(command, env=preloading(library), capture_output=True, text=True,
                              timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Failure(f"did not end within {TIMEOUT_S} s")
    if done.returncode in may_exit:
        return done.returncode
    if done.returncode != 0:
        raise Failure(f"exit status {done.returncode}: {without_paths(done.stderr)}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    wanted = os.path.basename(library) if library else "libc.so.6"
    if result["malloc_object"] != wanted:
        raise Failure(f"malloc is {result['malloc_object']}, not {wanted}: the preload had no effect")
    return (result, done.stderr) if error_output else result


def name_of(part):
    """A row or a column, which may be a tuple."""
    return part if isinstance(part, str) else "/".join(map(str, part))


def without_paths(text):
    """It goes into the JSON file."""
    return re.sub(r"/\S*/", "", text.strip())[-200:]


class Cores:
    """Whether the cores are near each other. A host may move a virtual machine's cores apart, for seconds: what threads
    share then takes several times as long, and a sample says more about the host than about what is measured. So each
    is taken between two looks (perf/distance), and again if a look finds the cores far apart."""
    FAR = 2.5       # times the least distance seen
    AGAIN = 6       # takes at most
    LONG_S = 5      # such a sample is not taken again: its cores were moved to and fro
    LOOKS, PAUSE_S = 10, 0.1

    def __init__(self, program):
        self.program, self.least, self.most, self.again, self.far = program, None, 0, 0, 0
        for _ in range(self.LOOKS if program else 0):
            self.near()
            time.sleep(self.PAUSE_S)

    def near(self):
        distance = float(output_of(self.program) or 0) if self.program else 0
        if not distance:
            return True
        self.least, self.most = min(distance, self.least or distance), max(distance, self.most)
        return distance < self.FAR * self.least

    def take(self, run_one, row, column):
        for take in range(self.AGAIN):
            for _ in range(self.LOOKS):
                if self.near():
                    break
                time.sleep(self.PAUSE_S)
            started = time.monotonic()
            result = run_one(row, column)
            if result is None or self.near() or time.monotonic() - started > self.LONG_S:
                return result
            self.again += take + 1 < self.AGAIN
        self.far += 1
        return result

    def note(self):
        return (f"cores: a cache line took {self.least:.0f} to {self.most:.0f} ns from one to the other; {self.again} samples "
                f"were taken again because it took over {self.FAR} times the least, {self.far} are of that time all the same")


def measure(rows, columns, run_one, runs, cores, deadline=None):
    """(samples, failures, rounds): samples[row][column] is a list of results; failures[row][column] says why not.
    run_one(row, column) returns None where the column has nothing to do with the row. Past the deadline no row is
    begun, so a row has all columns or none; nor is a round that would end later if it took as long as the longest."""
    samples = {row: {column: [] for column in columns} for row in rows}
    failures = {row: {} for row in rows}
    left_out = set()
    longest, rounds = 0, 0
    for run in range(runs):
        started = time.monotonic()
        if deadline and run and started + longest > deadline:
            break
        for number, row in enumerate(rows):
            if deadline and time.monotonic() > deadline:
                if not run:
                    failures[row] = dict.fromkeys(columns, OUT_OF_TIME)
                continue
            progress(f"run {run + 1}/{runs}: {name_of(row)}")
            first = (run + number) % len(columns)
            for column in columns[first:] + columns[:first]:
                if column in failures[row] or (row, column) in left_out:
                    continue
                try:
                    result = cores.take(run_one, row, column)
                    if result is None:
                        left_out.add((row, column))
                        continue
                    done = [s for others in samples[row].values() for s in others if not s.get("capped")]
                    if done and not result.get("capped") and done[0].get("checksum") != result.get("checksum"):
                        raise Failure("its checksum differs from the others'")
                    samples[row][column].append(result)
                except Failure as failure:
                    failures[row][column] = str(failure)
                    samples[row][column] = []
        longest = max(longest, time.monotonic() - started)
        rounds += 1
    progress("")
    return samples, failures, rounds


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# ---- the report ----

def medians(samples, metric):
    """{row: {column: median}}; metric: a field's name, or a function of a result. None is no value."""
    read = metric if callable(metric) else lambda result: result[metric]
    found = {}
    for row, columns in samples.items():
        known = {column: [v for v in map(read, results) if v is not None] for column, results in columns.items()}
        found[row] = {column: statistics.median(values) for column, values in known.items() if values}
    return found


class Measurement:
    """One part's run: what is measured, on which machine; ends as a report."""

    def __init__(self, suite, options, files):
        """files: {name: path} of all that must stay the same meanwhile."""
        self.suite, self.options = suite, options
        self.machine = machine_properties()
        self.files = {name: path for name, path in files.items() if path}
        self.sha256 = {name: fingerprint(path) for name, path in self.files.items()}
        self.samples, self.failed, self.late, self.rounds = {}, [], [], 0
        self.cores = Cores(bench_program(options, "distance") if options.scale >= QUICK_SCALE else None)

    def fail(self, column, row, why):
        self.failed.append({"column": name_of(column), "row": name_of(row), "why": why})

    def measure(self, rows, columns, run_one, runs=None, share=1):
        """samples[row][column], kept for the report too; share: of the time that is left."""
        deadline = self.options.deadline
        if deadline:
            deadline = time.monotonic() + max(0, deadline - time.monotonic()) * share
        samples, failures, rounds = measure(rows, columns, run_one, runs or self.options.runs, self.cores, deadline)
        self.rounds = max(self.rounds, rounds)
        for row, found in failures.items():
            for column, why in found.items():
                if why != OUT_OF_TIME:
                    self.fail(column, row, why)
            if OUT_OF_TIME in found.values():
                self.late.append(name_of(row))
        for row, found in samples.items():
            kept = self.samples.setdefault(name_of(row), {})
            kept.update({name_of(column): results for column, results in found.items() if results})
        return samples

    def report(self, tables, plots=(), notes=(), **more):
        for name, path in self.files.items():
            if fingerprint(path) != self.sha256[name]:
                self.fail(name, "all", "its file changed during the run: the samples are of two builds")
        notes = list(notes)
        if self.cores.least:
            notes.append(self.cores.note())
        if self.late:
            notes.append(f"out of time, so not measured: {', '.join(self.late)}")
        return {"suite": self.suite, "runs": self.rounds, "scale": self.options.scale, "machine": self.machine,
                "sha256": self.sha256,
                "peer_versions": {name: peer_version(name) for name in self.files if name in PEERS},
                "tables": [t for t in tables if any(row["values"] for row in t["rows"])], "plots": list(plots),
                "notes": notes, **more, "failed": self.failed, "samples": self.samples}


def heading(report):
    machine, runs = report["machine"], report["runs"]
    return (f"{machine['cpu_model_name']} (family {machine['cpu_family']}), {machine['cores']} cores, "
            f"{machine['memory_mib']} MiB, Linux {machine['kernel']}, load {machine['load_before']}; "
            f"median of {runs} run{'s' * (runs != 1)} at scale {report['scale']:.3g}")


# ---- options ----

def bench_program(options, name):
    path = os.path.join(options.build, "perf", name)
    if not os.path.exists(path):
        needs = "needs liburcu-dev and libck-dev; then " if name == "rcu_bench" else ""
        raise SystemExit(f"{name} is not built: {needs}cmake -B build && cmake --build build")
    return path


def find_libraries(options):
    """{allocator: path}; says which are skipped."""
    libraries = {name: find_library(name, options.build) for name in options.allocators}
    for name in [name for name, path in libraries.items() if path is None]:
        hint = "build it first" if name == "qslab" else "perf/bench --install gets it"
        print(f"{name}: not here, skipped ({hint})")
        del libraries[name]
    if not libraries:
        raise SystemExit("nothing to measure")
    return libraries


def write_json(path, report):
    with open(path, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


PROGRAMS = ["gnuplot-nox", "redis-server", "redis-tools", "memcached", "sqlite3", "python3", "g++", "perl", "groff",
            "ghostscript", "minisat", "z3"]


def install():
    packages = [package for _, package in PEERS.values()] + ["liburcu-dev", "libck-dev", *PROGRAMS]
    return subprocess.run([os.path.join(ROOT, "tools", "packages"), *packages]).returncode


def comma_list(known=None):
    def parse(text):
        names = list(dict.fromkeys(text.split(",")))
        for name in names:
            if known and name not in known:
                raise argparse.ArgumentTypeError(f"unknown {name!r}; known: {', '.join(known)}")
        return names
    return parse


def at_least_one(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value
