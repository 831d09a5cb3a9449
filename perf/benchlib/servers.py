"""The servers among perf/bench programs: started over an allocator, loaded through a local socket, and ended. Wall
time is the load's, CPU time and peak RSS are the server's whole life."""
import json
import os
import random
import signal
import socket
import subprocess
import time

from benchlib import inputs
from benchlib.common import TIMEOUT_S, Failure, without_paths


class Server:
    """`with Server(...) as server`: spawn runs the command; it is up once its socket takes a connection."""

    def __init__(self, spawn, preload, work, command):
        self.socket, self.result_file = os.path.join(work, "s"), os.path.join(work, "result")
        self.preload, self.work = preload, work
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        self.errors = open(os.path.join(work, "errors"), "w+")
        self.process = subprocess.Popen([spawn, preload, self.result_file, *command], cwd=work, env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors)

    def __enter__(self):
        try:
            return self.started()
        except BaseException:
            self.__exit__()
            raise

    def started(self):
        for _ in range(200):
            try:
                self.connect().close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise Failure(f"the server does not answer: {self.said()}")
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            self.pid = int(file.read().split()[0])
        with open(f"/proc/{self.pid}/maps") as file:
            if self.preload and os.path.realpath(self.preload) not in file.read():
                raise Failure("the server does not map the library")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            if hasattr(self, "pid"):
                os.kill(self.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.errors.close()

    def said(self):
        self.errors.seek(0)
        return without_paths(self.errors.read())

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(TIMEOUT_S)
        client.connect(self.socket)
        return client

    def end(self, wall_s):
        os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            raise Failure("the server does not end")
        with open(self.result_file) as file:
            result = json.load(file)
        if result["status"] != 0 or "cannot be preloaded" in self.said():
            raise Failure(f"the server ended with status {result['status']}: {self.said()}")
        return result | {"wall_s": wall_s}


def timed(command, **more):
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, **more)
    except subprocess.TimeoutExpired:
        raise Failure(f"the load did not end within {TIMEOUT_S} s")
    if done.returncode != 0:
        raise Failure(f"the load failed: {without_paths(done.stdout + done.stderr)}")
    return time.monotonic() - started, done.stdout


# ---- redis ----

def redis_prepare(work, scale):
    inputs.redis_commands(os.path.join(work, "commands"), max(200, int(300000 * scale)))


def redis(load):
    def serve(spawn, preload, work, scale):
        requests = str(max(1000, int(600000 * scale)))
        command = ["redis-server", "--port", "0", "--unixsocket", "s", "--save", "", "--appendonly", "no", "--dir", "."]
        with Server(spawn, preload, work, command) as server:
            if load == "mixed":
                with open(os.path.join(work, "commands")) as commands:
                    wall, said = timed(["redis-cli", "-s", server.socket, "--pipe"], stdin=commands)
                if "errors: 0" not in said:
                    raise Failure("redis refused commands")
            else:
                wall, said = timed(["redis-benchmark", "-s", server.socket, "-t", load, "-n", requests, "-r", requests,
                                    "-d", "100", "-c", "50", "-P", "16", "-q"])
            return server.end(wall)
    return serve


# ---- memcached ----

def memcached(spawn, preload, work, scale):
    """Sets of 10 bytes to 8 KiB, a read of every tenth, through four connections."""
    chance = random.Random(8)
    count = max(100, int(200000 * scale))
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    os.chmod(work, 0o777)
    os.chmod(os.path.dirname(work), 0o755)
    command = ["memcached", "-s", os.path.join(work, "s"), "-t", "4", "-m", "256", *user]
    block = b"v" * 8192
    with Server(spawn, preload, work, command) as server:
        clients = [server.connect() for _ in range(4)]
        files = [client.makefile("rb") for client in clients]
        started = time.monotonic()
        for first in range(0, count, 100):
            client, file = clients[first // 100 % 4], files[first // 100 % 4]
            sizes = {first + i: int(10 * 800 ** (chance.random() ** 2)) for i in range(100)}
            client.sendall(b"".join(b"set k%d 0 0 %d noreply\r\n%s\r\n" % (key, size, block[:size])
                                    for key, size in sizes.items())
                           + b"".join(b"get k%d\r\n" % key for key in list(sizes)[::10]))
            for key in list(sizes)[::10]:
                head = file.readline().split()
                if head[:2] != [b"VALUE", b"k%d" % key] or file.read(int(head[3])) != block[:sizes[key]]:
                    raise Failure("memcached lost a value")
                file.readline(), file.readline()
        wall = time.monotonic() - started
        for client in clients:
            client.close()
        return server.end(wall)
