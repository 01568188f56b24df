"""What `confirm` prints of transactions speaks the language of the environment; what programs read does not."""

from __future__ import annotations

import json
import re
from gettext import NullTranslations

import pytest

from cli import language
from tests.cli.conftest import MemoryCli
from tests.cli.test_why import unsent

SHOWN = (
    ("status",), ("status", "--all"), ("review",), ("show", "n1"), ("why", "n1"), ("diagnose",), ("requests",),
    ("find", "--state", "REVIEW"),
)  # fmt: skip
DATA = re.compile(
    r"«[^»]*»|`[^`]+`|\b[A-Z]{2,}\b|--\S+|\b[\w.-]*\d[\w.:/-]*|confirm [a-z-]+ n\d --why TEXT.*|confirm diagnose .*"
    r"|never-sent-too-late|deadline-passed|added|payments?-\w+|import|serverless|\bid\b|\b(?:[smhd]|min)\b|producer"
    r"|deadline passed before it could be sent|stack \w+ \([^)]*\)"
)
"""Of a line: what is translated (in guillemets), names, numbers, commands, and what others have said."""


class Bracketed(NullTranslations):
    """A language in which each text is itself, in guillemets."""

    def gettext(self, message: str) -> str:
        return "«" + re.sub(r"%\((\w+)\)s", r"»%(\1)s«", message) + "»"


def bare(line: str) -> str:
    return " ".join(re.findall(r"[a-zA-Z]{3,}", DATA.sub(" ", re.sub("[│┃┏┓┗┛┡┩━─┌┐└┘├┤┬┴┼╇╈╋╂┳┻]", " ", line))))


@pytest.mark.parametrize("command", SHOWN, ids=" ".join)
def test_no_word_of_its_views_is_in_one_language_alone(
    confirm: MemoryCli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    unsent(confirm, "n1", "n2")
    monkeypatch.setattr(language, "words", lambda _: Bracketed())
    told = confirm(*command).out
    assert "«" in told
    assert {line for line in map(bare, told.splitlines()) if line} == set()


def test_it_speaks_spanish_where_the_environment_does_and_programs_hear_english(
    confirm: MemoryCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent(confirm, "n1")
    english = confirm("why", "n1", "--json").out
    monkeypatch.setenv("LANG", "es_MX.UTF-8")
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    told = confirm("why", "n1").out
    for said in ("nunca enviada, probado", "qué hacer", "Su plazo venció antes de enviarla", "confirm redrive n1"):
        assert said in told, said
    assert json.loads(confirm("why", "n1", "--json").out) == json.loads(english)
