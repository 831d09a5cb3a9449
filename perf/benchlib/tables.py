"""Tables: how a report holds its numbers, and how they are shown, as text and as Markdown.

A table is {title, columns, ours, peers, more, rows, glance}. A row is {label, values: {column: number}} and may
have tags: {column: text behind the number} and ratios: {our column: number} instead of the ones computed here.
Ratios are ours divided by the best peer's. glance: what the table says in the summary, or None.
"""
import math
import statistics

from benchlib.common import PEERS

ALLOCATOR_PEERS = ["glibc", *PEERS]


def table(title, columns, rows, ours=("qslab",), peers=None, more=False, glance=None):
    """rows: (label, {column: value}), or a row as above. Values that are not known are left out."""
    made = []
    for row in rows:
        if not isinstance(row, dict):
            row = {"label": row[0], "values": row[1]}
        row["values"] = {column: v for column, v in row["values"].items() if v is not None}
        made.append(row)
    if peers is None:
        peers = [column for column in columns if column not in ours]
    return {"title": title, "columns": list(columns), "ours": [column for column in ours if column in columns],
            "peers": list(peers), "more": more, "rows": made, "glance": glance}


def ratios(what, row):
    """{our column: ratio to the best peer}, of a table's row."""
    if "ratios" in row:
        return row["ratios"]
    known = [row["values"][peer] for peer in what["peers"] if peer in row["values"]]
    if not known or (max if what["more"] else min)(known) <= 0:
        return {}
    best = (max if what["more"] else min)(known)
    return {column: row["values"][column] / best for column in what["ours"] if row["values"].get(column, 0) > 0}


def mean(values):
    """Geometric; None of nothing."""
    values = [value for value in values if value and value > 0]
    return math.exp(statistics.fmean(math.log(value) for value in values)) if values else None


def mean_ratios_row(what):
    found = {column: [] for column in what["ours"]}
    for row in what["rows"]:
        for column, value in ratios(what, row).items():
            found[column].append(value)
    means = {column: mean(values) for column, values in found.items() if values}
    return {"label": "geometric mean", "values": {}, "ratios": means}


def to_each_peer(what):
    """{our column: {peer: geometric mean of ours divided by the peer's}}, over the rows that both have."""
    found = {}
    for ours in what["ours"]:
        found[ours] = {}
        for peer in what["peers"]:
            pairs = [(row["values"].get(ours), row["values"].get(peer)) for row in what["rows"] if "ratios" not in row]
            value = mean(a / b for a, b in pairs if a and b)
            if value is not None:
                found[ours][peer] = value
    return found


def number(value):
    digits = next((digits for least, digits in ((1000, 0), (100, 1), (1, 2)) if abs(value) >= least), 4)
    return f"{value:,.{digits}f}"


def cells(what):
    """The table as text, the head first."""
    known = [column for column in what["columns"] if any(column in row["values"] for row in what["rows"])]
    shows_ratio = [column for column in what["ours"] if any(column in ratios(what, row) for row in what["rows"])]
    yield ["", *known, *(f"{column}/best" for column in shows_ratio)]
    for row in what["rows"]:
        tags, ratio = row.get("tags", {}), ratios(what, row)
        yield [row["label"],
               *(f"{number(row['values'][c])}{' ' + tags[c] if c in tags else ''}" if c in row["values"] else "-"
                 for c in known),
               *(f"{ratio[c]:.3f}" if c in ratio else "-" for c in shows_ratio)]


def title_of(what):
    return what["title"] + (" (more is better)" if what["more"] else "")


def as_text(what):
    lines = list(cells(what))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    shown = ["  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
             for line in lines]
    return "\n".join(["", title_of(what), "", *shown])


def as_markdown(what):
    lines = list(cells(what))
    shown = ["| " + " | ".join(line) + " |" for line in lines]
    shown.insert(1, "|---|" + "---:|" * (len(lines[0]) - 1))
    return "\n".join([f"**{title_of(what)}**", "", *shown, ""])
