"""A trace as a waterfall: order, scale, what is cut short, and what is said where there is none."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo import trace
from demo.trace import bars, main, pauses, read, show
from local.errors import LocalError
from tests.docs.shown import shown

MS = 1_000_000
START = 1_700_000_000 * 10**9


def span(id_: str, parent: str, name: str, start: int, end: int, error: str = "", **more: Any) -> dict[str, Any]:
    """Times in milliseconds after the start."""
    times = {"start": START + start * MS, "end": START + end * MS}
    attributes = {"tx": "p-1", **more} if name in ("transaction", "confirm") else more
    about = {"trace": "a" * 32, "id": id_, "parent": parent, "name": name, "error": error}
    return {**about, **times, "attributes": attributes, "links": []}


SPANS = [
    span("6", "4", "gateway ask", 60_100, 60_150, result="NotFound"),
    span("4", "1", "confirm", 60_000, 60_400, attempt=2, why="gateway confirmed"),
    span("2", "1", "confirm", 1_000, 1_500, "unknown: no answer", attempt=1),
    span("3", "2", "gateway confirm", 1_100, 1_400, "Unknown: no answer"),
    span("1", "", "transaction", 0, 60_400),
]


def test_parents_stand_above_their_children_in_the_order_of_time() -> None:
    drawn = [(bar.depth, bar.name) for bar in bars(SPANS)]
    assert drawn == [
        (0, "transaction"), (1, "confirm 1"), (2, "gateway confirm"), (1, "confirm 2"), (2, "gateway ask")
    ]  # fmt: skip


def test_pauses_are_cut_and_work_keeps_its_proportions() -> None:
    assert [(end - start) // MS for start, end in pauses(SPANS)] == [1_000, 58_500]
    drawn = {bar.name: bar for bar in bars(SPANS)}
    assert drawn["transaction"].left == 0
    assert drawn["transaction"].right == pytest.approx(1)
    first, second = (drawn[name].right - drawn[name].left for name in ("confirm 1", "confirm 2"))
    assert first / second == pytest.approx(500 / 400)
    assert first > 0.4, "a minute of waiting hides half a second of work"


def test_an_attempt_whose_root_is_still_to_come_is_shown() -> None:
    assert next(bar.name for bar in bars([one for one in SPANS if one["id"] != "1"])) == "confirm 1"


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_tells_all(tmp_path: Path, width: int) -> None:
    file = tmp_path / "spans.jsonl"
    other = {**span("9", "", "transaction", 0, 1), "trace": "b" * 32, "attributes": {"tx": "p-2"}}
    file.write_text("".join(json.dumps(one) + "\n" for one in [*SPANS, other]))
    out = io.StringIO()
    show(read(file, "p-1"), "p-1", Console(file=out, width=width))
    text = out.getvalue()
    for said in ("confirm 1", "gateway confirm", "gateway ask", "unknown: no answer", "58.50 s of waiting", "a" * 32):
        assert said in text
    assert ("NotFound" in text) is (width == 140)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert "b" * 32 not in text


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    trace.draw(SPANS, "p-1", tmp_path / "trace.png")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_of_the_page_shows_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = tmp_path / ".local" / "traces"
    traces.mkdir(parents=True)
    with shown("docs/telemetry.md", "Traces") as page:
        for command in page:
            *_, transaction = words = command.split()
            (traces / "spans.jsonl").write_text(
                "".join(json.dumps(one) + "\n" for one in SPANS).replace("p-1", transaction)
            )
            assert words[:3] == ["python", "-m", "demo.trace"]
            assert main(words[3:], traces) == 0
            assert transaction in capsys.readouterr().out


def test_where_there_is_none_it_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError, match=r"no trace of 'p-9'.*make demo"):
        read(tmp_path / "spans.jsonl", "p-9")
    assert main(["there-is-no-such-one"], tmp_path) == 1
    assert "There is no trace of" in capsys.readouterr().err
