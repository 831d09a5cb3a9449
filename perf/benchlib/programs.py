"""perf/bench programs: real programs over each allocator. README.md says what each one does."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Callable

from benchlib import inputs, servers
from benchlib.common import TIMEOUT_S, Failure, Measurement, bench_program, find_libraries, medians, without_paths
from benchlib.tables import table

SECONDS_A_ROUND = 190  # at scale 1, with all allocators, on 2 cores
SPAWN_FAILED = 127


def output_of_tool(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


# ---- does the preload take effect? ----

def malloc_of(probe, preload):
    """The files that the program's malloc comes from, as its dynamic linker says; probe: a command that ends at
    once. A program may be linked to a malloc of its own, as Debian's redis is, and only this tells."""
    environment = {**os.environ, "LD_DEBUG": "bindings", "LD_BIND_NOW": "1", "LD_PRELOAD": preload}
    done = subprocess.run(probe, env=environment, capture_output=True, text=True, errors="replace", timeout=60,
                          stdin=subprocess.DEVNULL)
    bound = re.findall(r"binding file (\S+) \[0\] to (\S+) \[0\]: \S+ symbol `malloc'", done.stderr)
    # to the program itself: its table of addresses, which leads where the program's own calls go
    return {os.path.realpath(to) for name, to in bound
            if "/ld-linux" not in name and os.path.realpath(to) != os.path.realpath(probe[0])}


def libc_of(binary):
    found = re.search(r"libc\.so\.6 => (\S+)", output_of_tool("ldd", binary))
    return found[1] if found else ""


def preload_for(program, library):
    """What to preload so that the program's malloc is this library's, "" for glibc's; raises Failure."""
    probe = [shutil.which(program.probe[0]) or program.probe[0], *program.probe[1:]]
    wanted = library or libc_of(probe[0])
    natural = malloc_of(probe, "")
    if not natural:
        raise Failure("it calls no malloc that could be replaced")
    preload = library or ("" if natural == {os.path.realpath(wanted)} else wanted)
    if malloc_of(probe, preload) != {os.path.realpath(wanted)}:
        raise Failure("the preload had no effect")
    return preload


# ---- what is run ----

@dataclass
class Program:
    name: str
    probe: list                   # a command that binds malloc as the program does, and ends at once
    command: Callable = None      # (work, scale) -> the command; it runs in work
    prepare: Callable = None      # (work, scale): makes its input
    needs: list = field(default_factory=list)
    stdin: str = ""               # a file in work
    output: str = "out"           # the file in work that must be the same under every allocator
    environment: dict = field(default_factory=dict)
    serve: Callable = None        # (spawn, preload, work, scale) -> result; instead of a command


def scaled(count, scale):
    return max(1, int(count * scale))


def python(name, rounds, **environment):
    suffix = "" if environment else "-pymalloc"
    script = os.path.join(inputs.HERE, f"py_{name}.py")
    return Program(f"python-{name}{suffix}", ["/usr/bin/python3", "-Sc", "0"],
                   lambda work, scale: ["/usr/bin/python3", "-S", script, str(scaled(rounds, scale))],
                   environment={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **environment})


def programs():
    cc1plus = output_of_tool("g++", "-print-prog-name=cc1plus") or "cc1plus"
    server = [Program(f"redis-{load}", ["redis-server", "--version"], needs=["redis-cli", "redis-benchmark"],
                      prepare=servers.redis_prepare, serve=servers.redis(load)) for load in ("set", "lpush", "mixed")]
    return [
        *server,
        Program("memcached", ["memcached", "-V"], serve=servers.memcached),
        Program("sqlite3", ["sqlite3", "-version"], lambda work, scale: ["sqlite3", ":memory:"], stdin="queries.sql",
                prepare=lambda work, scale: inputs.sql(f"{work}/queries.sql", scaled(300000, scale))),
        python("objects", 1200, PYTHONMALLOC="malloc"),
        python("text", 120, PYTHONMALLOC="malloc"),
        python("numbers", 120, PYTHONMALLOC="malloc"),
        python("text", 120),
        Program("g++", [cc1plus, "--version"], lambda work, scale: ["g++", "-O1", "-c", "many.cpp", "-o", "many.o"],
                lambda work, scale: inputs.cxx(f"{work}/many.cpp", scaled(12, scale)), ["g++"], output="many.o"),
        Program("perl", ["perl", "-v"], lambda work, scale: [
            "perl", os.path.join(inputs.HERE, "text.pl"), str(scaled(100, scale))],
            environment={"PERL_HASH_SEED": "0"}),
        Program("groff", ["troff", "--version"], lambda work, scale: ["groff", "-t", "-e", "-man", "-Tps", "doc.man"],
                lambda work, scale: inputs.document(f"{work}/doc.man", scaled(800, scale)), ["groff", "tbl", "eqn"],
                environment={"SOURCE_DATE_EPOCH": "0"}),
        Program("ghostscript", ["gs", "--version"], lambda work, scale: [
            "gs", "-q", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pgmraw", "-r72", "-o", "drawing.pgm", "drawing.ps"],
            lambda work, scale: inputs.drawing(f"{work}/drawing.ps", scaled(15, scale)), output="drawing.pgm"),
        Program("minisat", ["minisat", "--help"], lambda work, scale: [
            "sh", "-c", "minisat -verb=0 clauses.cnf model >/dev/null || [ $? -ge 10 ]"],
            lambda work, scale: inputs.clauses(f"{work}/clauses.cnf", scaled(260, max(scale, 0.3))), output="model"),
        Program("z3", ["z3", "--version"], lambda work, scale: ["z3", "formula.smt2"],
                lambda work, scale: inputs.formula(f"{work}/formula.smt2", 8 if scale > 0.5 else 7)),
    ]


def missing(program):
    return [name for name in [program.probe[0], *program.needs] if not shutil.which(name)]


def run_command(program, spawn, preload, work, scale):
    result_file = os.path.join(work, "result")
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"} | program.environment
    with open(os.path.join(work, program.stdin) if program.stdin else os.devnull, "rb") as stdin, \
            open(os.path.join(work, "out"), "wb") as out:
        try:
            done = subprocess.run([spawn, preload, result_file, *program.command(work, scale)], cwd=work, stdin=stdin,
                                  stdout=out, stderr=subprocess.PIPE, env=environment, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"did not end within {TIMEOUT_S} s")
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0 or "cannot be preloaded" in said:
        raise Failure(without_paths(said))
    with open(result_file) as file:
        result = json.load(file)
    if result["status"] != 0:
        raise Failure(f"status {result['status']}: {without_paths(said)}")
    with open(os.path.join(work, program.output), "rb") as file:
        result["checksum"] = hashlib.sha256(file.read()).hexdigest()
    return result


# ---- the part ----

def bench_programs(options):
    known = {program.name: program for program in programs()}
    wanted = options.patterns or list(known)
    for name in wanted:
        if name not in known:
            options.parser.error(f"unknown {name!r}; known: {', '.join(known)}")
    libraries = find_libraries(options)
    spawn = bench_program(options, "spawn")
    notes = [f"{name}: skipped, {', '.join(missing(known[name]))} is not here (perf/bench --install gets it)"
             for name in wanted if missing(known[name])]
    chosen = [known[name] for name in wanted if not missing(known[name])]
    part = Measurement("programs", options, {**libraries, "spawn": spawn})
    preloads, shipped = {}, []
    for program in chosen:
        for name, library in libraries.items():
            try:
                preloads[program.name, name] = preload_for(program, library)
            except (Failure, OSError, subprocess.TimeoutExpired) as failure:
                part.fail(name, program.name, without_paths(str(failure)))
        if preloads.get((program.name, "glibc")):
            shipped.append(program.name)
    if shipped:
        notes.append(f"shipped with another malloc than glibc's, which is preloaded here: {', '.join(shipped)}")

    with tempfile.TemporaryDirectory(prefix="qslab-bench-") as top:
        def work_of(program):
            return os.path.join(top, program.name)

        for program in chosen:
            os.mkdir(work_of(program))
            if program.prepare:
                program.prepare(work_of(program), options.scale)

        def run(row, column):
            program = known[row]
            if (row, column) not in preloads:
                return None
            run_one = program.serve or (lambda *arguments: run_command(program, *arguments))
            return run_one(spawn, preloads[row, column], work_of(program), options.scale)

        samples = part.measure([program.name for program in chosen], list(libraries), run)

    names = list(libraries)

    def made(metric):
        return [(row, values) for row, values in medians(samples, metric).items() if values]

    return part.report([
        table("wall time, s", names, made("wall_s"), glance="wall time of programs"),
        table("CPU time, s", names, made("cpu_s"), glance="CPU time of programs"),
        table("peak RSS, MiB", names, made(lambda r: r["peak_rss_kib"] / 1024), glance="peak RSS of programs"),
    ], (), [*notes, "each program's malloc was seen to come from the allocator named, by its dynamic linker; servers "
            "also by /proc/PID/maps"])
