"""Finds secrets in whatever left the product. It shares no code with the masker, and knows what was planted."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote_plus

from tests.corpus.planted import Planted

DEPTH = 3
"""So many codes may stand in one another."""


def readings(text: str) -> Iterator[str]:
    """Small letters and digits of a text, as it stands and out of each code that it may be written in."""
    seen: set[str] = set()
    level = [text]
    for _ in range(DEPTH):
        following = []
        for one in level:
            bare = _bare(one)
            if bare not in seen:
                seen.add(bare)
                yield bare
            following += [other for other in _decoded(one) if other != one]
        level = following


def _bare(text: str) -> str:
    kept = []
    for one in unicodedata.normalize("NFKC", text).lower():
        number = unicodedata.digit(one, None)
        if number is not None:
            kept.append(str(number))
        elif one.isalnum():
            kept.append(one)
    return "".join(kept)


def _decoded(text: str) -> Iterator[str]:
    if "\\" in text:
        yield re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    if "%" in text:
        yield unquote_plus(text)
    if "&" in text:
        yield html.unescape(text)
    for word in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text):
        try:
            hidden = base64.b64decode(word + "=" * (-len(word) % 4)).decode("ascii")
        except (ValueError, binascii.Error):
            continue
        if hidden.isprintable():
            yield hidden


def _texts(piece: str) -> Iterator[str]:
    """The texts of a line that is JSON, each by itself: a time beside an id has digits enough to look like anything."""
    try:
        document = json.loads(piece) if piece.startswith("{") else None
    except ValueError:
        document = None
    if document is None:
        yield piece
        return
    waiting = [document]
    while waiting:
        match waiting.pop():
            case dict() as one:
                waiting += [*one, *one.values()]
            case list() as one:
                waiting += one
            case str() as one:
                yield one
            case int() | float() as one:
                yield str(one)


def leak(secret: Planted, text: str) -> str | None:
    """The part of this secret that stands in a text, if enough of it does."""
    for read in readings(text):
        for start in range(len(secret.core) - secret.window + 1):
            part = secret.core[start : start + secret.window]
            if part in read:
                return part
    return None


class Search:
    """All secrets at once in much text: a part of each that is long enough to stand there for no other reason."""

    LEAST = 11

    def __init__(self, secrets: Iterable[Planted]) -> None:
        self._parts: dict[str, Planted] = {}
        self._short: list[Planted] = []
        for secret in secrets:
            if len(secret.core) < self.LEAST:
                self._short.append(secret)
                continue
            for start in range(len(secret.core) - self.LEAST + 1):
                self._parts.setdefault(secret.core[start : start + self.LEAST], secret)

    def leaks(self, pieces: Sequence[str]) -> list[tuple[Planted, str]]:
        """Each secret that leaked, with the piece that it stands in."""
        found = []
        for piece in pieces:
            for read in (one for text in _texts(piece) for one in readings(text)):
                for start in range(len(read) - self.LEAST + 1):
                    if secret := self._parts.get(read[start : start + self.LEAST]):
                        found.append((secret, piece))
                        break
                found += [(secret, piece) for secret in self._short if secret.core in read]
        return found
