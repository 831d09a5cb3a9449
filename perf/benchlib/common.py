"""What the suites share: the allocators, the machine, interleaved runs, tables."""
import argparse
import hashlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEERS = {  # name: (library, Debian package)
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "mimalloc": ("libmimalloc.so.2", "libmimalloc2.0"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
}
ALLOCATORS = ["qslab", "glibc", *PEERS]
QUICK_SCALE = 0.2
TIMEOUT_S = 120  # for one run of one pattern; a hang is a failure, not a time


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
            "cpu_model": cpu.get("model", "unknown"), "kernel": platform.release(),
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


def run_json(command, library, may_exit=()):
    """What the program printed last; the exit status if it is one of may_exit."""
    try:
        done = subprocess.run(command, env=preloading(library), capture_output=True, text=True,
                              timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Failure(f"did not end within {TIMEOUT_S} s")
    if done.returncode in may_exit:
        return done.returncode
    if done.returncode != 0:
        said = re.sub(r"/\S*/", "", done.stderr.strip())[-200:]  # no paths: it goes into the JSON file
        raise Failure(f"exit status {done.returncode}: {said}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    wanted = os.path.basename(library) if library else "libc.so.6"
    if result["malloc_object"] != wanted:
        raise Failure(f"malloc is {result['malloc_object']}, not {wanted}: the preload had no effect")
    return result


def measure(rows, columns, run_one, runs):
    """samples[row][column] is a list of results; failures[row][column] says why not. run_one(row, column)
    returns None where the column has nothing to do with the row."""
    samples = {row: {column: [] for column in columns} for row in rows}
    failures = {row: {} for row in rows}
    left_out = set()
    for run in range(runs):
        for number, row in enumerate(rows):
            progress(f"run {run + 1}/{runs}: {row}")
            first = (run + number) % len(columns)
            for column in columns[first:] + columns[:first]:
                if column in failures[row] or (row, column) in left_out:
                    continue
                try:
                    result = run_one(row, column)
                    if result is None:
                        left_out.add((row, column))
                        continue
                    done = [s for others in samples[row].values() for s in others if not s.get("capped")]
                    if done and not result.get("capped") and done[0]["checksum"] != result["checksum"]:
                        raise Failure("its checksum differs from the others'")
                    samples[row][column].append(result)
                except Failure as failure:
                    failures[row][column] = str(failure)
                    samples[row][column] = []
    progress("")
    return samples, failures


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# ---- tables ----

def medians(samples, field):
    return {pattern: {name: statistics.median(s[field] for s in results)
                      for name, results in row.items() if results}
            for pattern, row in samples.items()}


def geomeans(table, patterns, names):
    """Over the patterns that every allocator finished, so that they stay comparable."""
    whole = [p for p in patterns if all(name in table[p] for name in names)]
    if not whole:
        return {}
    return {name: math.exp(statistics.fmean(math.log(table[p][name]) for p in whole)) for name in names}


def digits_for(row):
    return 0 if min(row.values(), default=0) >= 1000 else 2


def heading(machine, runs, scale):
    return (f"{machine['cpu_model_name']}, {machine['cores']} cores, {machine['memory_mib']} MiB, "
            f"Linux {machine['kernel']}, load {machine['load_before']}; median of {runs} run(s) at scale {scale}")


# ---- options ----

def find_libraries(options):
    """{allocator: path}; says which are skipped."""
    libraries = {name: find_library(name, options.build) for name in options.allocators}
    for name in [name for name, path in libraries.items() if path is None]:
        hint = "build it first" if name == "qslab" else "perf/bench --install gets it"
        print(f"{name}: not here, skipped ({hint})")
        del libraries[name]
    return libraries


def write_json(path, report):
    with open(path, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


def install():
    packages = [package for _, package in PEERS.values()] + ["liburcu-dev", "libck-dev"]
    return subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *packages]).returncode


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
