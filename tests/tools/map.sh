# qslab map: of a heap of known layout, every page in the picture has the colour of its state, none is drawn twice,
# and the terminal's letters say the same.
. "$(dirname "$0")/look.bash"

# compare: map.svg, stat.json and out against what the patient said.
compare() {
	judge '
import xml.etree.ElementTree as tree
ns = "{http://www.w3.org/2000/svg}"
svg = tree.parse("map.svg").getroot()
colors = dict(re.findall(r"\.(\w+)\{fill:(#[0-9a-f]{6})\}", svg.find(ns + "style").text))
assert len(set(colors.values())) == len(colors) == 12, colors
legend = [r.get("class") for r in svg.find(ns + "g").findall(ns + "rect")]
assert set(legend) == set(colors), legend

lines, state, title, y = {}, {}, {}, None
for element in svg:  # a line: its address, its frame, its rects
    if element.tag == ns + "text" and element.get("class") == "address":
        base = int(element.text, 16)
        assert base % (2 << 20) == 0 and base not in lines
        lines[base] = y = int(element.get("y")) - 11
    elif element.tag == ns + "rect" and element.get("class") in colors:
        assert int(element.get("y")) == y
        first, count = (int(element.get("x")) - 132) // 2, int(element.get("width")) // 2
        assert 0 <= first and 0 < count <= 512 - first
        text = element.find(ns + "title").text
        assert text.startswith("0x%x, %d page" % (base + first * 4096, count)), text
        for page in range(first, first + count):
            assert base + page * 4096 not in state
            state[base + page * 4096], title[base + page * 4096] = element.get("class"), text
assert sorted(lines) == list(lines)

def page(address): return address // 4096 * 4096
for share, address in enumerate(said["runs"]):
    live = {0: ("span", None), 1: ("live1", 16), 2: ("live2", 32), 3: ("live3", 48), 4: ("live4", 64)}[share]
    near = [a for a in state if abs(a - address) < 3 << 19]  # a run is 4 MiB, or more where spans are padded
    assert len(near) > (600 if share else 100) and {state[a] for a in near} == {live[0]}, (share, {state[a] for a in near})
    if share:
        of, total = re.search(r"slab 0x[0-9a-f]+ of 1024 B objects: (\d+) of (\d+) live", title[page(address)]).groups()
        assert int(of) * 4 == int(total) * share, title[page(address)]
large = [a for a in state if state[a] == "large"]
assert sorted(large) == list(range(said["large"], said["large"] + said["large_bytes"], 4096))
assert title[said["large"]].count("large object 0x%x: 5.0 MiB, 5.0 MiB resident" % said["large"]) == 1

stat = json.load(open("stat.json"))["allocators"][0]
slabs = sum(c["slabs"] * c["slab_pages"] for c in stat["classes"])
assert slabs == sum(s not in ("large", "largew", "span") for s in state.values())

letters = {}
for base, text in re.findall(r"^ *([0-9a-f]+)  (\S{64})$", out, re.M):
    for i, letter in enumerate(text):
        letters[int(base, 16) + i * 32768] = letter
for share, address in enumerate(said["runs"]):
    assert not share or letters[address // 32768 * 32768] == "01234"[share], share
assert "s" in letters.values()
assert letters[said["large"] // 32768 * 32768 + 32768] == "L"'
}

start layout
look map -o map.svg "$process"
[ ! -s out ] || fail "stdout with -o: $(head -3 out)"
look stat --format json "$process" && cp out stat.json
look map "$process"
compare
if dump; then
	look map -o map.svg "$core"
	look core --format json "$core" && cp out stat.json
	look map "$core"
	compare
	rm "$core"
fi
wants 1 '/nonexistent/map.svg: No such file or directory' map -o /nonexistent/map.svg "$process"
wants 1 '/dev/full: No space left on device' map -o /dev/full "$process"
stop

wants 2 'map: no process or core file given' map
wants 2 'map: -o needs a value' map 1 -o
wants 1 'process 2147483647: no such process' map 2147483647
finish
