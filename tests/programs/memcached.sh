# memcached with four threads: thousands of values of many sizes come back as they were set.
. "$(dirname "$0")/common.bash"
need memcached; need python3
port=$(free_port)
user=(); [ "$(id -u)" -eq 0 ] && user=(-u nobody)
loads memcached
serve memcached -l 127.0.0.1 -p "$port" -t 4 -m 256 -I 2m "${user[@]}"
cat >"$work/client.py" <<'PYTHON'
import concurrent.futures, hashlib, random, socket, sys
port, clients, keys = int(sys.argv[1]), 8, 1000

def value(key, version):
    chance = random.Random(f"{key} {version}")
    size = chance.choice((chance.randrange(1, 200), chance.randrange(1, 8000), chance.randrange(1, 200)))
    if key % 500 == 0:
        size = 700_000 + key
    block = hashlib.sha256(f"{key} {version}".encode()).digest()
    return (block * (size // 32 + 1))[:size]

def client(first):
    s = socket.create_connection(("127.0.0.1", port), timeout=30)
    f = s.makefile("rwb")
    def command(line, answer):
        f.write(line + b"\r\n"); f.flush()
        got = f.readline().rstrip()
        assert got == answer, (line[:40], got)
    def put(key, version):
        v = value(key, version)
        command(b"set k%d 0 0 %d\r\n%s" % (key, len(v), v), b"STORED")
    def check(key, version):
        f.write(b"get k%d\r\n" % key); f.flush()
        head = f.readline().split()
        assert head[:2] == [b"VALUE", b"k%d" % key], (key, head)
        assert f.read(int(head[3])) == value(key, version), key
        assert f.readline() == b"\r\n" and f.readline() == b"END\r\n"
    mine = range(first, first + keys)
    for key in mine: put(key, 0)
    for key in mine: check(key, 0)
    for key in mine:
        if key % 3 == 0: command(b"delete k%d" % key, b"DELETED")
        elif key % 3 == 1: put(key, 1)
    for key in mine:
        if key % 3 == 0: command(b"get k%d" % key, b"END")
        else: check(key, int(key % 3 == 1))
    for n in range(100): command(b"add n%d-%d 0 0 1\r\n5" % (first, n), b"STORED")
    for n in range(100): command(b"incr n%d-%d 37" % (first, n), b"42")

with concurrent.futures.ThreadPoolExecutor(clients) as pool:
    for done in [pool.submit(client, n * keys) for n in range(clients)]: done.result()
PYTHON
for _ in $(seq 100); do (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
check_mapped "$server"
plain python3 -c 'pass' || skip "no python3 that runs"
timeout "$limit" /usr/bin/python3 "$work/client.py" "$port" || fail "values"
end_server
finish
