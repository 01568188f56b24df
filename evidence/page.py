"""One page of all that was kept: plain HTML, all in one file, with the same as JSON in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from evidence.record import KEPT

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: #1a7f37; --bad: #cf222e; --odd: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; --odd: #d29922 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: .2rem } h2 { margin: 2.5rem 0 .2rem; border-top: 1px solid var(--line); padding-top: 1.2rem }
table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
.counts { width: auto } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .8rem; margin: .8rem 0 }
dl div { background: var(--soft); border-radius: .4rem; padding: .5rem .8rem } dt { font-size: .8rem }
dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.kept { color: var(--good) } .broken { color: var(--bad) } .stale { color: var(--odd) }
code { background: var(--soft); padding: .1rem .3rem; border-radius: .2rem } p { margin: .3rem 0 }
summary { cursor: pointer }
"""


def collect(folder: Path = KEPT) -> list[dict[str, Any]]:
    """What was kept, in the order of its parts' names."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def html(parts: Sequence[Mapping[str, Any]], wanted: Sequence[str], now: str) -> str:
    """`wanted` are the parts that a whole page has: one that was not run is named as missing. `now` is the commit."""
    missing = [part for part in wanted if part not in {one["part"] for one in parts}]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Evidence: nothing lost, nothing twice</title><style>{STYLE}</style>
<h1>Nothing lost, nothing twice</h1>
<p>Every transaction reaches a final state, or a person's desk with a reason and a deadline; its effect happens exactly
once; anyone can see which, when and why. This page says how that sentence was attacked, and what came of it.</p>
<p>Commit <code>{escape(now)}</code>{"" if not now.endswith("+") else " (files differ from it)"}</p>
{_summary(parts, missing, now)}
{"".join(_part(one) for one in parts)}
<script type="application/json" id="data">{_data(parts)}</script>
</html>
"""


def _data(parts: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(list(parts)).replace("<", r"\u003c")  # or a text in it could end the script


def _summary(parts: Sequence[Mapping[str, Any]], missing: Sequence[str], now: str) -> str:
    rows = [
        f'<tr><td><a href="#{one["part"]}">{_words(one["part"])}</a></td><td>{escape(one["claim"])}</td>'
        f"<td>{_verdict(one)}{_stale(one, now)}</td></tr>"
        for one in parts
    ]
    rows += [f'<tr><td>{_words(part)}</td><td></td><td class="broken">not run</td></tr>' for part in missing]
    return f"<table><tr><th>Attack<th>What it tried to break<th>Verdict</tr>{''.join(rows)}</table>"


def _part(one: Mapping[str, Any]) -> str:
    figures = "".join(f"<div><dt>{_words(name)}<dd>{_shown(value)}</div>" for name, value in one["figures"].items())
    counts = ""
    if one["counts"]:
        struck = sorted(one["counts"].items(), key=lambda pair: -pair[1])
        cells = "".join(f'<tr><td>{_words(kind)}</td><td class="number">{_shown(n)}</td></tr>' for kind, n in struck)
        counts = f"<table class=counts><tr><th>Of a kind<th class=number>How often</tr>{cells}</table>"
    commit = one["commit"][:12] + ("+" if one["commit"].endswith("+") else "")
    return f"""<h2 id="{one["part"]}">{_words(one["part"])}: {_verdict(one)}</h2>
<p>{escape(one["claim"])}</p>
<p><code>{escape(one["command"])}</code> on <code>{commit}</code>, {one["at"]}, {_shown(one["seconds"])} s</p>
<dl>{figures}</dl>{counts}{"".join(_table(table) for table in one["tables"])}"""


def _table(table: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{escape(column)}" for column in table["columns"])
    rows = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in table["rows"])
    title = f"{escape(table['title'])} ({len(table['rows'])})"
    return f"<details><summary>{title}</summary><table><tr>{head}</tr>{rows}</table></details>"


def _cell(value: object) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"<td class={'number' if number else 'text'}>{_shown(value)}</td>"


def _verdict(one: Mapping[str, Any]) -> str:
    return '<span class="kept">held</span>' if one["passed"] else '<span class="broken">broken</span>'


def _stale(one: Mapping[str, Any], now: str) -> str:
    return "" if one["commit"] == now else f' <span class="stale">of {one["commit"][:12]}</span>'


def _words(name: str) -> str:
    return escape(name.replace("-", " ").replace("_", " ").capitalize())


def _shown(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
