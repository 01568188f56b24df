"""The words of `confirm` in each language: all of them, with what is put into each, and which one it speaks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from cli import language
from cli.books.classes import MEANING as CLASSES
from cli.console import words
from cli.views import MEANING
from tests.docs.markdown import ROOT
from workers.domain.desk import EXITS, Outcome, Stage
from workers.domain.diagnosis import TABLE, Who
from workers.domain.transaction import Status

OTHERS = [one for one in language.languages() if one != language.ENGLISH]
Text = str | tuple[str, ...]


@cache
def said() -> frozenset[Text]:
    """Every text that the code and the templates mark."""
    ways = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract")]
    marked = {text for _, _, text, _, _ in extract_from_dir(ROOT / "cli", ways)}
    marked |= {*CLASSES.values(), *MEANING.values()}
    return frozenset(marked | {text for cell in TABLE for text in (cell.means, cell.todo)} | {*map(str, Who)})


def catalogue(name: str) -> dict[Text, Text]:
    with (language.LOCALES / f"{name}.po").open("rb") as file:
        return {_text(message.id): _text(message.string) for message in read_po(file) if message.id}


def _text(given: str | Sequence[str] | None) -> Text:
    return given if isinstance(given, str) else tuple(given or ())


def each(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)\w|\{\w*\}|`[^`]+`", text))


def test_there_are_others() -> None:
    assert OTHERS == ["es"]
    assert len(said()) > 100


@pytest.mark.parametrize("name", OTHERS)
def test_a_catalogue_has_every_word_and_no_other(name: str) -> None:
    known = catalogue(name)
    assert {text for text in said() if not all(each(known.get(text, "")))} == set(), f"add them to cli/locale/{name}.po"
    assert known.keys() - said() == set(), "nobody says these any more"


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_put_in_has_its_place_in_each(name: str) -> None:
    for text, translated in catalogue(name).items():
        wanted = {one for part in each(text) for one in placeholders(part)}
        for one in each(translated):
            assert placeholders(one) == wanted, text


@pytest.mark.parametrize(
    ("environment", "speaks"),
    [
        ({}, "en"),
        ({"LANG": "es_ES.UTF-8"}, "es"),
        ({"LANG": "es"}, "es"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "es_MX@euro"}, "es"),
        ({"LANG": "es_ES", "LC_MESSAGES": "en_US"}, "en"),
        ({"LANG": "en_US", "LANGUAGE": "de:es:en"}, "es"),
        ({"LANG": "es_ES", "LC_ALL": ""}, "es"),
    ],
)
def test_the_environment_says_which(environment: dict[str, str], speaks: str) -> None:
    assert language.of_environment(environment) == speaks


@pytest.mark.parametrize(
    ("accepted", "speaks"),
    [
        ("", None),
        ("es-ES,es;q=0.9,en;q=0.8", "es"),
        ("en;q=0.5, es;q=0.6", "es"),
        ("de, en", "en"),
        ("fr", None),
        ("es;q=x, en", "en"),
        ("*", None),
        ("e" * 10_000, None),
    ],
)
def test_so_does_a_browser(accepted: str, speaks: str | None) -> None:
    assert language.of_header(accepted) == speaks


def test_each_state_exit_and_outcome_has_words() -> None:
    assert words.STATES.keys() == set(Status)
    assert EXITS.keys() <= words.EXITS.keys()
    assert {*words.STAGES} == {*Stage, "ended"}
    assert {*words.OUTCOMES} == {one.name.lower() for one in Outcome if one is not Outcome.DONE}
