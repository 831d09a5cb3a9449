# qslab serve: GET /metrics is what a Prometheus parser accepts and what stat counts; everything else gets its status
# and harms nothing; it ends when the process ends.
. "$(dirname "$0")/look.bash"

start healthy
timeout 100 "$tool" serve --port 0 "$process" >serve.out 2>serve.err 9>&- & server_job=$!
children+=($server_job)
for _ in $(seq 100); do [ -s serve.out ] && break; sleep 0.1; done
port=$(sed -nE "s|^process $process: http://127.0.0.1:([0-9]+)/metrics$|\1|p" serve.out)
[ -n "$port" ] || fail "serve said: $(cat serve.out serve.err)"
look stat --format json "$process"
cat >client.py <<'PYTHON'
import json, re, socket, sys, threading, urllib.request, urllib.error
port, stat = int(sys.argv[1]), json.load(open("out"))

def raw(request, finish=True):
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.settimeout(20)
        s.sendall(request)
        if finish:
            s.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while more := s.recv(65536):
                answer += more
        except ConnectionResetError:
            pass
        return answer
def status(request, finish=True):
    first = raw(request, finish).split(b"\r\n")[0].decode()
    return int(first.split()[1]) if first.startswith("HTTP/1.1 ") else first

def parse(text):
    """The text format 0.0.4: name{label="value",...} number; HELP and TYPE before their samples, once."""
    samples, types, help = {}, {}, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if m := re.fullmatch(r"# HELP ([a-zA-Z_:][\w:]*) (.+)", line):
            assert m[1] not in help
            help.add(m[1])
        elif m := re.fullmatch(r"# TYPE ([a-zA-Z_:][\w:]*) (gauge|counter)", line):
            assert m[1] not in types and not any(n == m[1] for n, _ in samples)
            types[m[1]] = m[2]
            last = m[1]
        else:
            m = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)', line)
            assert m, line
            assert m[1] in types and m[1] in help and m[1] == last, line
            assert (m[2] or "")[-1:] != ","
            key = m[1], frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[2] or ""))
            assert key not in samples, line
            samples[key] = float(m[3])
            assert types[m[1]] != "counter" or m[1].endswith("_total"), line
    return samples

with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=20) as answer:
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
    body = answer.read()
    assert len(body) == int(answer.headers["Content-Length"])
    samples = parse(body.decode())
value = lambda name, **labels: [v for (n, l), v in samples.items() if n == "qslab_" + name and set(labels.items()) <= l]
for c in stat["allocators"][0]["classes"]:
    for place in ("live", "free", "magazines"):
        assert value("objects", size=str(c["size"]), place=place) == [c[place]], (c, place)
assert abs(value("rss_bytes")[0] - stat["rss"]) < 1 << 20

assert status(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", False) == 200
assert status(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n") == 200
head = raw(b"HEAD /metrics HTTP/1.1\r\n\r\n")
assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
for path in (b"/", b"/metric", b"/metrics/", b"//metrics", b"/../metrics"):
    assert status(b"GET " + path + b" HTTP/1.1\r\n\r\n") == 404, path
for method in (b"POST", b"PUT", b"DELETE", b"get"):
    assert status(method + b" /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc") == 405, method
for bad in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET metrics HTTP/1.1\r\n\r\n", b"GET / x HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n", b"GET /metrics HTTP/2.0 \r\n\r\n", b"\0" * 100,
            b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000):
    assert status(bad) == 400, (bad[:40], status(bad))
assert raw(b"") == b"" and raw(b"GET /metr") == b""     # it says no more
socket.create_connection(("127.0.0.1", port)).close()   # nor anything
slow = socket.create_connection(("127.0.0.1", port))    # it keeps the others waiting, for a while
assert status(b"GET /metrics HTTP/1.1\r\n\r\n") == 200
slow.close()
for s in [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]:  # an answer nobody reads
    s.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
assert status(b"GET /metrics HTTP/1.1\r\n\r\n") == 200
threads = [threading.Thread(target=lambda: oks.append(status(b"GET /metrics HTTP/1.1\r\n\r\n"))) for _ in range(10)]
oks = []
for t in threads: t.start()
for t in threads: t.join()
assert oks == [200] * 10, oks
PYTHON
timeout 100 "$python" client.py "$port" || fail "see above; serve: $(cat serve.out serve.err)"
command -v ss >/dev/null && ss -Hltn "sport = :$port" | grep -vq '127\.0\.0\.1' && fail "it listens beyond loopback"
wants 1 "port $port: Address already in use" serve --port "$port" "$process"
stop
wait $server_job || fail "serve ended with status $?: $(cat serve.err)"
[ "$(tail -1 serve.out)" = "process $process: ended" ] && [ ! -s serve.err ] || fail "serve: $(cat serve.out serve.err)"

wants 2 'serve: no process given' serve
wants 2 'serve: --port needs a number from 0 to 65535, not 65536' serve --port 65536 1
wants 2 "serve: not a process's number: core" serve core
wants 1 'process 2147483647: no such process' serve 2147483647
finish
