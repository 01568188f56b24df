"""The docs say what is so: links, commands, options, config keys, paths, figures; and the two READMEs are one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from alternatives.fargate.costs import SMALLEST
from alternatives.settings import KEYS, parse
from analysis import reference
from analysis.costs import graph, plot
from analysis.costs.models import COUNTED_LOAD, Model, break_even, total
from analysis.costs.prices import MILLION
from cli.main import app
from components.settings import PROJECT, SettingsError
from tests.docs.markdown import ROOT, Document, documents

DOCS = documents()
ENGLISH, SPANISH, CONTRIBUTING, COMMAND = (
    DOCS[name] for name in ("README.md", "README.es.md", "CONTRIBUTING.md", "docs/confirm-command.md")
)
READMES = pytest.mark.parametrize("readme", [ENGLISH, SPANISH], ids=lambda d: d.name)
every = pytest.mark.parametrize("document", DOCS.values(), ids=DOCS)


# -- the two languages


def test_the_spanish_readme_has_the_same_headings() -> None:
    assert [level for level, _ in SPANISH.headings] == [level for level, _ in ENGLISH.headings]
    assert len(ENGLISH.headings) >= 9


def test_the_spanish_readme_has_the_same_links() -> None:
    """In the same order; each names the other."""
    swapped = {"README.md": "README.es.md"}
    assert [swapped.get(link, link) for link in SPANISH.links] == ENGLISH.links


def test_the_spanish_readme_has_the_same_code() -> None:
    """Comments are translated."""
    assert [(block.language, block.code) for block in SPANISH.blocks] == [
        (block.language, block.code) for block in ENGLISH.blocks
    ]


@READMES
def test_the_diagrams_are_shown(readme: Document) -> None:
    shown = set(re.findall(r"!\[.+?\]\(analysis/diagrams/(\w+)\.png\)", readme.text))
    assert shown == {"serverless", "fargate", "life", "network", "pipeline"}


def test_the_spanish_readme_names_the_same_things() -> None:
    """Commands, files, keys and states in backticks: the same, though each language has its own order of words."""
    assert sorted(SPANISH.spans) == sorted(ENGLISH.spans)


def test_the_spanish_readme_has_the_same_figures() -> None:
    def figures(document: Document) -> list[str]:
        return sorted(re.findall(r"(?<![\w/:-])\d[\d,.]*\b(?![\w/:-])", re.sub(r"`[^`]+`", "", document.prose)))

    assert figures(SPANISH) == figures(ENGLISH)
    assert len(figures(ENGLISH)) >= 15


# -- links and paths


@every
def test_links_resolve(document: Document) -> None:
    for link in document.links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.path.parent / path).resolve() if path else document.path
        assert target.exists(), link
        if anchor:
            assert anchor in DOCS[str(target.relative_to(ROOT))].anchors, link


_SOURCE = re.compile(r"[\w-]+\.(py|md|toml|ya?ml|in|lock|sql)")
_MADE = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if line.startswith(".")]
"""What the project makes: named in the docs, and not there at first."""


def paths(document: Document) -> Iterator[str]:
    """Spans that look like a path of this repository, from its root."""
    top = {path.name for path in ROOT.iterdir()}
    for span in document.spans:
        if re.fullmatch(r"[\w.*/-]+", span) and "..." not in span:
            first, slash, _ = span.partition("/")
            if (slash and (first in top or first.startswith("."))) or span in top:
                yield span


@every
def test_paths_exist(document: Document) -> None:
    made = [path for path in paths(document) if path.split("/")[0] in _MADE]
    assert [path for path in paths(document) if path not in made and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", [ENGLISH, CONTRIBUTING], ids=lambda d: d.name)
def test_files_named_without_their_folder_exist(document: Document) -> None:
    folders = ("components", "workers", "local", "cli", "tests", "benchmarks")
    known = {path.name for folder in folders for path in (ROOT / folder).rglob("*")} | {p.name for p in ROOT.iterdir()}
    named = {s for s in document.spans if _SOURCE.fullmatch(s) and not s.startswith("NNNN")}
    assert named - known == set()
    assert len([*paths(document), *named]) > 10


@every
def test_no_machine_is_named(document: Document) -> None:
    assert re.findall(r"(?<![\w.])/(?:home|root|Users|work|opt)/\S*|/tmp/\w+", document.text) == []


# -- make


def makefile() -> tuple[set[str], set[str]]:
    """Its targets, and those of them that `make` lists with a line of help."""
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    return targets, set(re.findall(r"^([a-z]+):.*## \S", text, re.MULTILINE))


def test_each_target_has_a_line_of_help() -> None:
    targets, helped = makefile()
    assert targets == helped
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets


def named_targets(document: Document) -> set[str]:
    return {
        target
        for command in document.commands()
        for target in re.findall(r"(?:^|[\s;&|])make ([a-z.][^\s)]*)", command)
    }


@every
def test_the_targets_exist(document: Document) -> None:
    ready = re.search(r"^READY := \$\(VENV\)(/\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert ready
    assert named_targets(document) <= makefile()[0] | {f".venv{ready[1]}"}


def test_the_readme_names_what_a_user_needs() -> None:
    assert named_targets(ENGLISH) >= {"demo", "test", "check", "shell", "preview", "bench", "lock", "clean"}


# -- the command `confirm`


def options() -> dict[str, set[str]]:
    """The options of each command."""
    group = typer.main.get_command(app)
    found = {}
    for name, command in getattr(group, "commands").items():  # noqa: B009 - typer's own copy of click has no types
        context = typer.Context(command, info_name=name)
        found[name] = {option for param in command.get_params(context) for option in (*param.opts, "--help")}
    return found


_CONFIRM = re.compile(r"(?:^|[;&|] *|\buntil )confirm ([a-z]+(?:-[a-z]+)*)\b([^;&|]*)")


@every
def test_commands_and_options_exist(document: Document) -> None:
    there = options()
    for command in document.commands():
        for name, rest in _CONFIRM.findall(command):
            assert name in there, command
            assert set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest)) <= there[name], command


def test_options_named_by_themselves_exist() -> None:
    named = {span.split()[0] for span in COMMAND.spans if span.startswith("--")}
    assert named <= set.union(*options().values())
    assert {"--stack", "--json"} <= named


def test_each_command_is_described() -> None:
    described = {name for span in COMMAND.spans for name, _ in _CONFIRM.findall(span)}
    assert described == set(options())


# -- config

NAMES = {key.name for key in KEYS}


@every
def test_config_keys_exist(document: Document) -> None:
    found = re.findall(rf"{PROJECT}:([A-Za-z]\w*)|pulumi config (?:set|get|rm) (\w+)", document.text)
    assert {name for pair in found for name in pair if name} <= NAMES


@READMES
def test_the_mistakes_are_shown_as_they_are_printed(readme: Document) -> None:
    (block,) = (block for block in readme.blocks if block.text.startswith("error: "))
    config = {"owner": "payments", "costCenter": "cc", "gatewayUrl": "https://payments.example.com"}
    with pytest.raises(SettingsError) as caught:
        parse({**config, "leaseSeconds": "10", "batchsize": "50"})
    printed = f"error: {caught.value}".splitlines()
    shown = block.text.splitlines()
    assert len(shown) == len(printed)
    for line, whole in zip(shown, printed, strict=True):
        assert line == whole or (line.endswith(", ...") and whole.startswith(line.removesuffix("...")))


# -- what is quoted from elsewhere


PROD = {"environment": "prod", "alarmEmail": "on-call@example.com"}


@pytest.fixture(scope="module")
def prod() -> dict[str, Model]:
    """The bills of what the program declares for prod."""
    return {
        "serverless": graph.of("serverless", **PROD).bill,
        "fargate": graph.of("fargate", **PROD).bill,
        "small": graph.of("fargate", **PROD, **SMALLEST).bill,
    }


def near(found: str, figure: float) -> bool:
    """An alarm more or less changes no figure on a page; another database does."""
    return abs(float(found) - figure) <= max(0.05 * figure, 1)


@READMES
def test_the_costs_are_those_of_the_program(readme: Document, prod: dict[str, Model]) -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.text.splitlines() if "US$" in line]
    fixed, by_volume = (row[1:] for row in rows if len(row) == 3)
    named = [figure for cell in fixed for figure in re.findall(r"(\d+) US\$", cell)]
    assert all(map(near, named, (total(model(0)) for model in prod.values())))
    assert len(named) == 3
    volumes = (MILLION / 10, 10 * MILLION, 100 * MILLION)
    for cell, model in zip(by_volume, (prod["serverless"], prod["fargate"]), strict=True):
        figures = cell.removesuffix(" US$").split(" / ")
        assert all(near(*pair) for pair in zip(figures, (total(model(one)) for one in volumes), strict=True))
    even = break_even(prod["serverless"], prod["fargate"])
    stated = re.search(r"(?:below|debajo de) (\d+) (?:million|millones) (?:a month|al mes) \|", readme.text)
    assert even is not None
    assert stated
    assert near(stated[1], even / MILLION)


def test_the_page_of_costs_says_where_the_bills_cross() -> None:
    serverless, *others = reference.prod_curves().values()
    evens = [even for model in others if (even := break_even(serverless, model))]
    said = "Below {:.0f} million a month `serverless` is cheaper; against the smallest database, below {:.0f} million."
    assert said.format(*(even / MILLION for even in evens)) in (ROOT / "docs/costs.md").read_text()


def test_the_page_of_costs_says_what_is_kept() -> None:
    """Nothing deletes a transaction: the bill grows with each month of them."""
    serverless, fargate = (
        graph.of(name, environment="prod", alarmEmail="on-call@example.com") for name in ("serverless", "fargate")
    )

    def month(stack: graph.Priced) -> float:
        more = (replace(COUNTED_LOAD, retention_months=COUNTED_LOAD.retention_months + n) for n in (1, 0))
        one, other = (sum(stack.bill(10 * MILLION, load).values()) for load in more)
        return (one - other) / 10

    said = "adds {:.2f} US$ a month on `serverless` and {:.2f} on `fargate`"
    assert said.format(month(serverless), month(fargate)) in (ROOT / "docs/costs.md").read_text()


def test_the_example_is_that_of_the_file_to_replace() -> None:
    (block,) = (block for block in ENGLISH.blocks if block.language == "python")
    source = (ROOT / "workers/gateway/payments.py").read_text()

    def words(text: str) -> str:
        return " ".join(text.split())

    assert words(block.text) in words(source)


@READMES
def test_the_cli_is_as_new_as_the_sdk(readme: Document) -> None:
    pinned = re.search(r'"pulumi==(\d+\.\d+)\.', (ROOT / "pyproject.toml").read_text())
    assert pinned
    assert pinned[1] in readme.text


@pytest.mark.parametrize("page", reference.pages(), ids=lambda path: path.name)
def test_the_generated_parts_are_todays(page: Path) -> None:
    assert page.read_text() == reference.renewed(page.read_text()), "run `make docs` and commit what it wrote"


def test_the_picture_of_the_bills_is_todays() -> None:
    drawn = reference.drawn_words(reference.PICTURE)
    assert drawn == plot.described(reference.prod_curves()), "run `make docs` and commit what it wrote"


def test_every_part_stands_in_some_page() -> None:
    text = "".join(page.read_text() for page in reference.pages())
    assert not [name for name in reference.PARTS if f"<!-- generated: {name} -->" not in text]


def test_the_tests_that_the_restore_page_names_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/restore.md").read_text()))
    found = {
        name
        for file in (
            "tests/contract/test_evidence.py",
            "tests/contract/test_restore.py",
            "tests/contract/test_shadow.py",
            "tests/local/provider/test_on_emulator.py",
            "tests/local/test_plain_cli.py",
            "tests/program/test_restore.py",
            "tests/serverless/test_handlers.py",
            "tests/service/test_point_in_time.py",
        )
        for name in re.findall(r"^def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE)
    }
    assert named
    assert named <= found
