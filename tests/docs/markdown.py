"""What the tests of the docs read in a Markdown file: headings, links, code spans and code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    text: str

    @property
    def code(self) -> tuple[str, ...]:
        """Its lines, without comments where the language has them, and without the empty ones; of a shell a command
        each, however many lines it has."""
        lines = self.text.splitlines()
        if self.language in ("bash", "python"):
            lines = [re.sub(r"(^|\s+)# .*", "", line) for line in lines]
        if self.language == "bash":
            lines = [line.strip() for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()]
        return tuple(line.rstrip() for line in lines if line.strip())


@dataclass(frozen=True, slots=True)
class Document:
    path: Path
    text: str

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def blocks(self) -> list[Block]:
        return [Block(*match.groups()) for match in _FENCE.finditer(self.text)]

    @property
    def shell(self) -> list[str]:
        """The commands of its shell blocks."""
        return [command for block in self.blocks if block.language == "bash" for command in block.code]

    @property
    def prose(self) -> str:
        """All but the blocks."""
        return _FENCE.sub("", self.text)

    @property
    def headings(self) -> list[tuple[int, str]]:
        return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+)$", self.prose, re.MULTILINE)]

    def section(self, heading: str) -> Document:
        """What stands below that heading, up to the next of its level. Raises KeyError."""
        level, inside, fenced, found = 0, False, False, list[str]()
        for line in self.text.splitlines(keepends=True):
            fenced ^= line.lstrip().startswith("```")
            marks, _, text = line.rstrip().partition(" ")
            if set(marks) == {"#"} and not fenced:
                if not level and text == heading:
                    level, inside = len(marks), True
                elif len(marks) <= level:
                    inside = False
            if inside:
                found.append(line)
        if not level:
            raise KeyError(f"{self.name} has no heading {heading!r}")
        return Document(self.path, "".join(found))

    @property
    def anchors(self) -> set[str]:
        """As GitHub makes them of the headings."""
        return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in self.headings}

    @property
    def links(self) -> list[str]:
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @property
    def spans(self) -> list[str]:
        """What stands in backticks, on one line."""
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    def commands(self) -> Iterator[str]:
        """What a reader may type: the lines of shell blocks, and the spans in prose and in the comments of a block."""
        yield from self.spans
        for block in self.blocks:
            if block.language == "bash":
                yield from block.code
                yield from re.findall(r"`([^`\n]+)`", block.text)


@cache
def documents() -> dict[str, Document]:
    """Every Markdown file of the project, by its path."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    paths = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))]
    found = [Document(path, path.read_text()) for path in sorted(paths)]
    return {document.name: document for document in found}
