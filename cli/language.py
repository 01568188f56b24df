"""Which language `confirm` speaks, and its words in it.

Catalogues are gettext's, kept as the text that translators write (`cli/locale/LANGUAGE.po`) and compiled when they are
read: no file that a build would have to make, and none that can be older than its source.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from babel.core import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ENGLISH = "en"
"""Of the words as they stand in the code."""
LOCALES = Path(__file__).parent / "locale"
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
"""As gettext itself reads them: the first that is set counts."""


@cache
def languages() -> tuple[str, ...]:
    """English, and each that has a catalogue."""
    return (ENGLISH, *sorted(file.stem for file in LOCALES.glob("*.po")))


@cache
def words(language: str) -> NullTranslations:
    """The catalogue of one of `languages`; what it lacks stays English."""
    if language == ENGLISH:
        return NullTranslations()
    with (LOCALES / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)


def N_(text: str) -> str:  # noqa: N802 - gettext's own name, by which the extraction finds them
    """Marks a text for the catalogues that is translated when it is shown."""
    return text


def say(text: str, **values: object) -> str:
    """`text` in the language that the environment asks for, and `values` in the places that it has for them."""
    said = words(of_environment(os.environ)).gettext(text)
    return said % values if values else said


def of_environment(environment: Mapping[str, str]) -> str:
    """What the environment's variables ask for: `LANG=es_ES.UTF-8`."""
    given = next((environment[name] for name in VARIABLES if environment.get(name)), "")
    return _nearest([one.partition(".")[0].partition("@")[0] for one in given.split(":")]) or ENGLISH


def of_header(accepted: str) -> str | None:
    """What a browser asks for (`Accept-Language: es-ES,es;q=0.9`); None for nothing that there is."""
    ranked = []
    for place, part in enumerate(accepted[:500].split(",")):
        name, _, quality = part.strip().partition(";q=")
        try:
            ranked.append((-float(quality or 1), place, name))
        except ValueError:
            continue  # not of the header's form: as if it were not there
    return _nearest([name for _, _, name in sorted(ranked)])


def _nearest(preferred: list[str]) -> str | None:
    return negotiate_locale([one.replace("-", "_") for one in preferred], languages())
