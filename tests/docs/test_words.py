"""One word for one thing: the table of words in docs/architecture.md, held to the code and to all that is written."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.docs.markdown import ROOT

PAGE = "docs/architecture.md"
HEADING = "## Words"
RELEASED = ("workers/migrations/", "CHANGELOG.md")
"""What stands in these was said, and stays."""
READ = {".py", ".sql", ".md", ".yml", ".yaml", ".toml", ".json"}


@dataclass(frozen=True, slots=True)
class Word:
    word: str
    symbol: str
    file: str
    instead_of: tuple[str, ...]


def words() -> list[Word]:
    found = []
    for line in (ROOT / PAGE).read_text().partition(HEADING)[2].splitlines():
        if line.startswith("| ") and not line.startswith(("| ---", "| word")):
            word, sentence, where, instead_of = (cell.strip() for cell in line.strip("|").split("|"))
            assert sentence.endswith((".", ".)")), f"{word}: a sentence"
            place = re.fullmatch(r"`(\w+)` in `([\w/]+\.py)`", where)
            assert place, f"{word}: {where}"
            found.append(Word(word, place[1], place[2], tuple(filter(None, instead_of.split(", ")))))
    return found


WORDS = words()


def pattern(phrases: list[str]) -> re.Pattern[str]:
    """Any of these, as words of their own, in prose and in names: `given_back` as well as `given back`."""
    loose = "|".join(re.sub("[ -]", r"[\\s_-]?", one) for one in phrases)
    return re.compile(rf"(?<![^\W_])(?:{loose})(?![^\W_])", re.IGNORECASE)


FORBIDDEN = pattern([one for word in WORDS for one in word.instead_of])


def texts() -> dict[str, str]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    ours = [name for name in names if (ROOT / name).suffix in READ and not name.startswith(RELEASED)]
    found = {name: (ROOT / name).read_text() for name in ours if (ROOT / name).is_file()}
    before, heading, after = found[PAGE].partition(HEADING)
    assert heading
    return found | {PAGE: before + "\n## ".join(after.split("\n## ")[1:])}


def test_each_word_has_a_place_in_the_code() -> None:
    assert 20 <= len(WORDS) == len({word.word for word in WORDS}) < 30
    missing = [
        f"{word.word}: no {word.symbol} in {word.file}"
        for word in WORDS
        if not re.search(rf"\b{word.symbol}\b", (ROOT / word.file).read_text())
    ]
    assert missing == []


def test_nothing_is_called_by_a_second_word() -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]!r}"
        for name, text in texts().items()
        if name != "tests/docs/test_words.py"
        for hit in FORBIDDEN.finditer(text)
    ]
    assert found == [], f"another word for it stands in the table of {PAGE}"


def test_a_class_has_its_name_for_itself() -> None:
    """Where transactions are worked on and where people look at them: there one name is one thing."""
    classes = Counter(
        name
        for room in ("workers", "cli")
        for path in (ROOT / room).rglob("*.py")
        for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
        if not name.startswith("_")
    )
    assert [name for name, times in classes.items() if times > 1] == []


@pytest.mark.parametrize("text", ["the DLQ", "sent round\nagain", "round_again", "a stolen lease", "Singing"])
def test_a_second_word_is_seen(text: str) -> None:
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ["using", "single", "checkout", "a backlog", "sender", "processing"])
def test_a_part_of_another_word_is_none(text: str) -> None:
    assert not FORBIDDEN.search(text)
