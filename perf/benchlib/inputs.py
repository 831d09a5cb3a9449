"""What perf/bench programs lets programs work on: made on the spot, from fixed seeds, the same each time."""
import os
import random

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def sql(path, rows):
    with open(os.path.join(HERE, "queries.sql")) as file:
        write(path, file.read().replace("ROWS", str(rows)))


def cxx(path, classes):
    """Templates, standard containers, and functions that use them."""
    text = [f"#include <{name}>\n" for name in ("algorithm", "functional", "map", "memory", "regex", "set", "sstream",
                                                "string", "tuple", "unordered_map", "vector")]
    text.append("template<int N> struct Sum { static constexpr int value = N + Sum<N - 1>::value; };\n"
                "template<> struct Sum<0> { static constexpr int value = 0; };\n")
    for i in range(classes):
        text.append(f"""
struct C{i} {{
    int a = {i}; std::string name; std::vector<std::tuple<int, double, std::string>> rows;
    std::map<std::string, std::unique_ptr<C{i}>> children;
    bool operator<(const C{i} &other) const {{ return std::tie(name, a) < std::tie(other.name, other.a); }}
    template<class F> auto each(F f) {{ for (auto &[key, child] : children) f(key, *child); return children.size(); }}
}};
int use{i}(std::vector<int> &numbers) {{
    std::unordered_map<int, std::function<int(C{i} &)>> table;
    std::set<std::pair<int, std::string>> seen;
    table[{i}] = [&](C{i} &c) {{ numbers.push_back(c.a); return Sum<{i % 60 + 40}>::value; }};
    std::sort(numbers.begin(), numbers.end(), [](int x, int y) {{ return x % {i + 2} < y % {i + 2}; }});
    C{i} one; one.rows.emplace_back({i}, 1.5, "x"); std::ostringstream out; out << one.name << {i};
    for (auto n : numbers) seen.emplace(n, out.str());
    return int(one.each([](auto &, auto &c) {{ c.a++; }})) + table[{i}](one) + int(seen.size());
}}
""")
    write(path, "".join(text))


def document(path, sections):
    """For groff: paragraphs, tables, equations, of its man macros."""
    chance = random.Random(4)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randrange(2, 10))) for _ in range(800)]
    text = [".TH DOCUMENT 7\n"]
    for section in range(sections):
        text.append(f".SH\nSection {section}\n")
        for _ in range(4):
            text.append(".PP\n" + "\n".join(" ".join(chance.choices(words, k=12)) for _ in range(12)) + "\n")
        text.append(".TS\ncenter box tab(;);\nl n n.\n" + "".join(
            f"{chance.choice(words)};{chance.randrange(10 ** 6)};{chance.random():.4f}\n" for _ in range(12)) + ".TE\n")
        text.append(".EQ\nx sub i = sum from k=0 to n { alpha sup k over { 1 + sqrt { beta + k } } }\n.EN\n")
    write(path, "".join(text))


def drawing(path, pages):
    """For ghostscript: text, dictionaries and curves."""
    write(path, f"""%!PS
/Helvetica findfont 9 scalefont setfont
1 1 {pages} {{ /page exch def page srand
  /words 500 dict def
  1 1 400 {{ /i exch def words i 20 string cvs cvn [ i page i mul (a string) i 30 string cvs ] put }} for
  1 1 3000 {{ pop rand 612 mod rand 792 mod moveto rand 612 mod rand 792 mod rand 612 mod rand 792 mod
    rand 612 mod rand 792 mod curveto rand 100 mod 100 div setgray stroke }} for
  1 1 500 {{ /i exch def rand 560 mod rand 780 mod moveto i 20 string cvs show }} for
  gsave 0 1 40 {{ /k exch def newpath 300 400 k 6 mul 0 360 arc clip }} for grestore
  showpage }} for
""")


def clauses(path, variables):
    """For minisat: random, three literals in a clause, just too many to be satisfied."""
    chance = random.Random(5)
    count = int(variables * 4.6)
    lines = [" ".join(str(v * chance.choice((1, -1))) for v in chance.sample(range(1, variables + 1), 3)) + " 0"
             for _ in range(count)]
    write(path, f"p cnf {variables} {count}\n" + "\n".join(lines) + "\n")


def formula(path, pigeons):
    """For z3: more pigeons than holes, over integers and an array; no model."""
    holes, text = pigeons - 1, ["(declare-const a (Array Int Int))\n"]
    for p in range(pigeons):
        text.append(f"(declare-const p{p} Int)\n(assert (and (>= p{p} 0) (< p{p} {holes})))\n"
                    f"(assert (= (select a p{p}) (+ p{p} {p})))\n")
    text += [f"(assert (distinct p{p} p{q}))\n" for p in range(pigeons) for q in range(p)]
    write(path, "".join(text) + "(check-sat)\n")


def redis_commands(path, count):
    """Strings that expire, hashes, lists, deletes; sizes of 10 bytes to 4 KiB, most of them small."""
    chance = random.Random(6)
    with open(path, "w") as file:
        for _ in range(count):
            key, value = chance.randrange(count // 8 + 1), "v" * int(10 * 400 ** (chance.random() ** 2))
            file.write(chance.choice((
                f"SET s{key} {value} PX {chance.randrange(50, 1500)}\n", f"SET k{key} {value}\n",
                f"APPEND k{key} {value[:200]}\n", f"HSET h{key % 500} f{key} {value}\n",
                f"LPUSH l{key % 300} {value}\n",
                f"RPOP l{key % 300}\n", f"DEL k{chance.randrange(count // 8 + 1)}\n", f"GET k{key}\n")))
