"""Words counted, lines rewritten, records through JSON. argv: how many thousand lines."""
import json
import random
import re
import sys

chance = random.Random(2)
words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randrange(2, 12))) for _ in range(5000)]
counts, index, total = {}, {}, 0
for thousand in range(int(sys.argv[1])):
    lines = [" ".join(chance.choices(words, k=chance.randrange(4, 20))) for _ in range(1000)]
    for number, line in enumerate(lines):
        for word in line.split():
            counts[word] = counts.get(word, 0) + 1
        index.setdefault(line[:3], []).append((thousand, number))
    text = re.sub(r"\b([aeiou]\w+)", r"<\1>", "\n".join(lines)).upper()
    records = [{"line": line, "words": line.split(), "length": len(line)} for line in text.split("\n")]
    total += sum(record["length"] for record in json.loads(json.dumps(records)))
print(total, sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5], len(index))
