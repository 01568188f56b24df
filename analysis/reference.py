"""The parts of the docs that the code itself tells: `make docs` writes them, `tests/docs` holds them to today's code.

A part stands in a page between `<!-- generated: NAME -->` and `<!-- end -->`; NAME is a key of PARTS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from alternatives import settings
from alternatives.fargate.costs import ACU_RATE
from analysis import watched
from analysis.costs import graph, plot
from analysis.costs.__main__ import curves
from analysis.costs.models import Model, month, total
from analysis.costs.prices import MILLION
from analysis.faults import BOTH, FAULTS
from components.aurora import capacity
from components.aurora import settings as aurora
from components.settings import ENVIRONMENTS, Environment, Key
from delivery.policies.model import FRAMEWORKS
from delivery.policies.rules import RULES
from workers.domain.diagnosis import DESK, FINAL, OPEN, Cell
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Rejected, Retryable, Unknown
from workers.gateway import evidence
from workers.gateway.limits import Called, error_of

ROOT = Path(__file__).resolve().parents[1]
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def config_keys() -> str:
    """Every config key."""
    return table(("key", "what it is", "default", "allowed"), map(_key, settings.KEYS))


def _key(key: Key) -> tuple[str, ...]:
    default = "[]" if key.default == () else str(key.default)
    return f"`{key.name}`", key.description, f"`{default}`" if default else "", key.allowed


def environments() -> str:
    """What each environment has, where its config does not say otherwise."""
    tables: list[Mapping[Environment, Any]] = [ENVIRONMENTS, *(part.sizes for part in settings.PARTS)]
    rows = [
        (f"`{field.name}`", *(_value(getattr(table[one], field.name)) for one in Environment))
        for table in tables
        for field in fields(table[Environment.DEV])
    ]
    return table(("", *Environment), rows)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


SIZES = ((0.5, 1), (1, 4), (1, 16), (8, 64), (16, 128))
"""Of Aurora, least and most ACU, beside those of the environments."""


def database_sizes() -> str:
    """What each size of Aurora holds."""
    ours = {(sizing.min_capacity_units, sizing.max_capacity_units): name.value for name, sizing in aurora.SIZES.items()}
    rows = [
        (
            f"{least:g} to {most:g}" + (f" ({ours[least, most]})" if (least, most) in ours else ""),
            f"{capacity.connections(least, most):,}",
            f"{capacity.tasks(least, most):,}",
            f"{least * ACU_RATE:,.0f} to {most * ACU_RATE:,.0f}",
            f"{_round(capacity.open_rows(least))} to {_round(capacity.open_rows(most))}",
        )
        for least, most in sorted({*SIZES, *ours})
    ]
    return table(("ACU", "connections", "tasks", "transactions a second", "open transactions in memory"), rows)


def _round(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number < 1e7 else f"{number / 1e6:,.0f} M"


def policies() -> str:
    """Every rule of the policy pack, with the ids of the same demand elsewhere."""
    rows = [
        (
            f"`{rule.id}`",
            rule.title,
            rule.severity,
            "advice" if rule.advisory else ", ".join(rule.only) if len(rule.only) < len(Environment) else "everywhere",
            *(" ".join(rule.controls.get(framework, ())) for framework in FRAMEWORKS),
        )
        for rule in RULES
    ]
    return table(("rule", "what holds", "severity", "mandatory in", *FRAMEWORKS.values()), rows)


@cache
def _runbooks() -> Mapping[str, str]:
    """Alarm -> its runbook, of all alternatives in prod."""
    made = [alarm for name in settings.NAMES for _, alarm in watched.in_prod(name).alarms]
    return {alarm.name: f"runbooks/{alarm.runbook}.md" for alarm in made}


def answers() -> str:
    """What each answer of the gateway is worth, for those who replace the adapter."""
    rows = [
        (
            " and ".join(f"`{verb}`" for verb in row.verbs),
            row.status,
            f"`{row.word}`",
            row.means,
            f"`{row.outcome.__name__}`" + ("" if row.counts else ", attempt uncounted"),
            "works" if row.healthy else "fails",
            f"`{kind}`" if (kind := _kind(row)) else "",
        )
        for row in evidence.TABLE
    ]
    both, unknown = "`confirm` and `ask`", "`Unknown`"
    return table(
        ("verb", "HTTP status", "`status`", "which says", "outcome", "for the breaker it", "counted as"),
        [
            *rows,
            (both, "any", "anything else", "a stranger's, or broken: nobody knows", unknown, "fails", "`unknown`"),
            (both, "none", "", "no whole answer after something was sent", unknown, "fails", "`unknown`"),
            (
                *(both, "none", "", "no connection: nothing was sent", "`Retryable`, attempt uncounted", "fails"),
                "`turned-away`",
            ),
        ],
    )


def _kind(row: evidence.Proof) -> str | None:
    """Of `GatewayErrors`, the metric."""
    samples: Mapping[type[Outcome], Outcome] = {
        Confirmed: Confirmed("", 0, ""),
        Rejected: Rejected(""),
        Retryable: Retryable("", row.counts),
        Unknown: Unknown(""),
        NotFound: NotFound(),
    }
    return error_of(Called(samples[row.outcome], row.healthy, 1.0 if row.status == 429 else 0.0))


def fault_matrix() -> str:
    """Each fault: what one sees, which alarm tells, what plays it."""
    return table(
        ("fault", "where", "what one sees", "alarm", "played by"),
        [
            (
                fault.name,
                "both" if fault.alternatives == BOTH else fault.alternatives[0],
                fault.sees,
                ", ".join(f"[`{alarm}`]({_runbooks()[alarm]})" for alarm in fault.alarms) or f"none: {fault.without}",
                ", ".join(f"`{test.rpartition('::')[2]}`" for test in fault.tests),
            )
            for fault in FAULTS
        ],
    )


def permissions(alternative: str) -> str:
    """Who may do what in that alternative."""
    from analysis.permissions import HEAD, rows  # the SDK takes seconds

    return table(HEAD, rows(alternative))


def alarms(alternative: str) -> str:
    """Every alarm of an alternative, in all that its config can switch on."""
    made = watched.everything(alternative)
    head = ("alarm", "metric", "raised at (dev / staging / prod)", "for", "no data is", "tells", "runbook", "graph")
    return table(head, (watched.alarm_cells(made, row, alarm) for row, alarm in made.alarms))


def paging() -> str:
    """What gets a person up, in either alternative."""
    both = [watched.everything(alternative) for alternative in settings.NAMES]
    named = {page.name: page for made in both for page in made.pages}
    rows = []
    for page in named.values():
        same = [other for made in both for other in made.pages if other.name == page.name]
        behind = dict.fromkeys(f"`{name}`" for other in same for name in other.any_of)
        unless = f", unless **{page.unless}**" if page.unless else ""
        rows.append(
            (f"**{page.name}**", f"any of {', '.join(behind)}{unless}", f"[{page.name}](runbooks/{page.name}.md)")
        )
    return table(("page", "when", "runbook"), rows)


PICTURE = ROOT / "docs" / "images" / "costs.png"


@cache
def prod_curves() -> Mapping[str, Model]:
    """What prod costs, by volume: each alternative, and the service on the smallest database."""
    changes = {"environment": "prod", "alarmEmail": "on-call@example.com"}
    return curves({name: graph.of(name, **changes) for name in reversed(settings.NAMES)}, **changes)


def costs() -> str:
    """Bills at some volumes."""
    rows = [
        (
            name,
            *(f"{total(model(volume)):,.0f}" for volume in (0, MILLION, 10 * MILLION, 100 * MILLION)),
            f"{month(model, 10 * MILLION).further:,.1f}",
        )
        for name, model in prod_curves().items()
    ]
    return table(("prod", "nothing to do", "1 M", "10 M", "100 M", "another million at 10 M"), rows)


_RUNBOOK = re.compile(r"runbooks? ([a-z-]+)(?: and ([a-z-]+))?")
CASE = ("case", "is", "means", "what to do", "ways out", "who may")


def cases(cells: Iterable[Cell], runbooks: str = "") -> str:
    """What lies somewhere, why, and what is done with it; the first that fits counts."""

    def linked(found: re.Match[str]) -> str:
        return " and ".join(f"[{name}]({runbooks}{name}.md)" for name in found.groups() if name)

    return table(
        CASE,
        [
            (
                f"`{cell.name}`",
                cell.when,
                cell.means,
                _RUNBOOK.sub(linked, cell.todo).replace("docs/canary.md", "[canary](../canary.md)"),
                ", ".join(f"`{exit_}`" for exit_ in cell.exits),
                cell.who.value,
            )
            for cell in cells
        ],
    )


def overdue() -> str:
    """The same of what lies on the desk and can leave it, in short."""
    return table(
        ("case", "first", "else", "who may"),
        [
            (f"`{cell.name}`", f"`{cell.exits[0]}`", ", ".join(f"`{one}`" for one in cell.exits[1:]), cell.who.value)
            for cell in DESK
            if cell.exits
        ],
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "cases-on-the-desk": partial(cases, DESK),
    "cases-to-decide": overdue,
    "cases-elsewhere": partial(cases, (*OPEN, *FINAL), "runbooks/"),
    "answers": answers,
    **{f"alarms-{name}": partial(alarms, name) for name in settings.NAMES},
    "pages": paging,
    "config-keys": config_keys,
    "database-sizes": database_sizes,
    "costs": costs,
    "environments": environments,
    "faults": fault_matrix,
    **{f"permissions-{name}": partial(permissions, name) for name in settings.NAMES},
    "policies": policies,
}


def pages() -> list[Path]:
    """Every page that has generated parts."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in found if _PART.search(path.read_text()))


def renewed(text: str) -> str:
    """A page with its generated parts as the code tells them today.

    Raises:
        KeyError: there is no part of that name.
    """
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part['name']]()}\n{part[3]}", text)


def main() -> None:
    for page in pages():
        before = page.read_text()
        after = renewed(before)
        if after != before:
            page.write_text(after)
            print(f"{page.relative_to(ROOT)}: renewed")
    if drawn_words(PICTURE) != plot.described(prod_curves()):
        plot.draw(prod_curves(), "A month of prod on AWS, by list price", PICTURE)
        print(f"{PICTURE.relative_to(ROOT)}: renewed")


def drawn_words(picture: Path) -> str | None:
    """What a picture of bills says of itself; None where there is none."""
    if not picture.exists():
        return None
    with Image.open(picture) as image:
        return image.info.get("Description")


if __name__ == "__main__":
    main()
