"""The commands that a page shows, for the test that plays them: it types what is on the page, not a copy of it.

    with shown("docs/switching.md", "3. Let the old one finish") as page:
        for command in page:
            typed(aws, command)

`tests/docs/test_commands.py` finds these calls, and names each command that no test plays and `UNPLAYED` does not have.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local.stack import LocalAws
from tests.docs.markdown import ROOT, documents


@dataclass(frozen=True, slots=True)
class Unplayed:
    why: str
    instead: tuple[str, ...] = ()
    """Tests that come nearest."""


_MINUTES = "takes minutes, as it starts all tests or all of the local AWS anew"
_CI = Unplayed("CI runs it: `.ci/run`")
_TODAY = "it writes into the repository; that nothing is left to write is a test"
_DEMO = Unplayed(
    _MINUTES,
    (
        "tests/local/test_plain_cli.py::test_every_transaction_is_final_with_its_effect_once",
        "tests/demo/test_verdict.py::test_a_clean_run_holds_and_adds_up",
    ),
)
_PIPELINE = Unplayed(
    _MINUTES,
    (
        "tests/pipeline/test_running.py::test_what_is_approved_is_applied",
        "tests/pipeline/test_true_run.py::test_exactly_the_plan_is_applied",
    ),
)
_NO_FIS = Unplayed(
    "the local AWS has no Fault Injection Service; each fault has a twin without it",
    ("tests/program/test_experiments.py::test_each_twin_is_there_and_plays",),
)

_SIMULATED = Unplayed(
    "it is longer than a test may take; each test plays a part of it",
    (
        "tests/simulation/test_simulation.py::test_no_oracle_finds_anything",
        "tests/simulation/test_simulation.py::test_a_failing_seed_says_how_to_play_it_again",
        "tests/variants/test_registry.py::test_it_falls_at_the_seeds_that_it_is_known_to_fall_at",
    ),
)

_CHAOS = Unplayed(
    _MINUTES,
    (
        "tests/chaos/test_proxy.py::test_on_postgresql_a_write_stands_or_is_undone_by_the_place_of_the_cut",
        "tests/chaos/test_figures.py::test_what_grows_is_not_flat",
        "tests/chaos/test_figures.py::test_what_is_told_differently_is_found",
        "tests/chaos/test_drill.py::test_the_page_has_the_commands_that_it_types",
    ),
)

_TOLD = Unplayed(
    "is for a workspace and a service of one's own",
    ("tests/program/test_observability.py::test_slack_and_pager_duty_hear_where_settings_name_them",),
)
_WAY_OUT = Unplayed(
    "wants what lies on a desk", ("tests/cli/test_commands.py::test_each_way_out_is_asked_for_and_approved",)
)

UNPLAYED = {
    "confirm desk": Unplayed(
        "runs until Ctrl-C, with a browser", ("tests/console/test_browser.py::test_a_day_without_a_mouse",)
    ),
    "confirm requests": Unplayed(
        "wants a request that waits", ("tests/cli/test_commands.py::test_one_asks_and_another_approves",)
    ),
    'confirm ask TRANSACTION --why "the customer says that it was paid"': Unplayed(
        "wants one that may have been sent",
        ("tests/cli/test_commands.py::test_who_may_approve_asks_alone_and_nobody_else",),
    ),
    'confirm resolve TRANSACTION --as done --source "bank statement 2026-11-30" --reference NTRF-1881 --amount 1250 '
    '--currency USD --why "seen on the statement"': _WAY_OUT,
    'confirm cancel TRANSACTION --why "the order was withdrawn"': _WAY_OUT,
    'confirm new-key TRANSACTION --source "gateway\'s console" --reference CASE-77 '
    '--why "no trace of it there"': _WAY_OUT,
    "make test": _CI,
    'make test ARGS="tests/domain -x"': _CI,
    "pulumi config set slackWorkspaceId T07EA123LEP": _TOLD,
    "pulumi config set slackChannelId C07EZ1ABC23": _TOLD,
    "pulumi config set --secret pagerDutyIntegrationUrl": _TOLD,
    "make stories": _CI,
    "make check": _CI,
    "make .venv/.installed": Unplayed("`make test` begins with it"),
    ". .venv/bin/activate": Unplayed("is Python's own; the tests run with its folder on PATH"),
    "make demo": _DEMO,
    "make demo ALTERNATIVE=fargate": _DEMO,
    "make shell STACK=fargate": Unplayed("wants a terminal; what is typed in it is played"),
    "make bench": Unplayed(_MINUTES, ("tests/benchmarks/test_queue.py::test_both_alternatives_are_measured_or_one",)),
    "make simulate SEEDS=10000": _SIMULATED,
    "make simulate SEED=27": _SIMULATED,
    "make explore": Unplayed(_MINUTES, ("tests/simulation/test_explorer.py::test_every_interleaving_holds",)),
    "make variants": _SIMULATED,
    "make mutants": Unplayed(
        _MINUTES, ("tests/variants/test_mutants.py::test_a_mutant_takes_the_place_of_its_function",)
    ),
    "make chaos": _CHAOS,
    "make soak MINUTES=10": _CHAOS,
    "make differential": _CHAOS,
    "make drill": _CHAOS,
    "make corpus": Unplayed(_MINUTES, ("tests/corpus/test_secrets.py::test_no_reason_keeps_one",)),
    "make evidence": Unplayed(_MINUTES, ("tests/evidence/test_page.py::test_what_this_commit_has_not_seen_is_run",)),
    "make docs": Unplayed(_TODAY, ("tests/docs/test_docs.py::test_the_generated_parts_are_todays",)),
    "make diagrams": Unplayed(_TODAY, ("tests/program/test_diagrams.py::test_the_files_are_todays",)),
    "make screens": Unplayed(_TODAY, ("tests/console/test_browser.py::test_a_day_without_a_mouse",)),
    "make lock": Unplayed("asks the package index what is newest"),
    "make pipeline STACK=serverless": _PIPELINE,
    "APPROVE=yes make pipeline STACK=fargate": _PIPELINE,
    "make pipeline TESTS=tests": _PIPELINE,
    "aws ce update-cost-allocation-tags-status --cost-allocation-tags-status TagKey=Stack,Status=Active "
    "TagKey=Alternative,Status=Active TagKey=Component,Status=Active": Unplayed("the local AWS has no bills"),
    'aws fis list-experiment-templates --query "experimentTemplates[].[id, tags.Name]" --output text': _NO_FIS,
    "aws fis start-experiment --experiment-template-id EXT...": _NO_FIS,
}
"""By command, why it is not played. `test_commands.py` still holds its words to the Makefile or to AWS's model."""


def parts(command: str) -> list[str]:
    """`a && b` are two."""
    return command.split(" && ")


def commands(page: str, heading: str, block: int | None = None, only: tuple[str, ...] = ("",)) -> list[str]:
    """What is to be typed below a heading: all, or of the block with that number, or what begins with one of `only`.
    What nobody can play is left out."""
    section = documents()[page].section(heading)
    blocks = [one for one in section.blocks if one.language == "bash"]
    typed_ = [command for one in (blocks if block is None else blocks[block : block + 1]) for command in one.code]
    return [one for one in typed_ if one.startswith(only) and not any(part in UNPLAYED for part in parts(one))]


@contextmanager
def shown(
    page: str, heading: str, *, block: int | None = None, only: tuple[str, ...] = ("",)
) -> Iterator[Iterator[str]]:
    """These `commands`, one after the other. Whoever leaves one out fails."""
    rest = iter(commands(page, heading, block, only))
    yield rest
    assert list(rest) == [], f"shown in {page} below {heading!r}, and not played"


def recipe(command: str) -> list[str]:
    """The last line that `make` would run, in words; whatever the `make` that runs the tests was given."""
    variables, _, rest = command.partition("make ")
    script = f"{variables}make --no-print-directory --dry-run {rest}"
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    answer = subprocess.run(["bash", "-c", script], cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return shlex.split(answer.stdout.splitlines()[-1])


_CURL = """curl() {
    python -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end="")' "$2"
}"""
"""Of `curl -s ADDRESS`, on a machine without it."""


def typed(aws: LocalAws, command: str, **options: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a command in the program's directory, where `pulumi`, `confirm` and `python` are on PATH.

    `options` are flags of `pulumi` that the page leaves to its reader: a yes, JSON instead of a table. The caller looks
    at `returncode`.
    """
    flags = {"yes": "true", "skip_preview": "true", "non_interactive": "true", **options}
    given = [f"PULUMI_OPTION_{name.upper()}={value}" for name, value in flags.items()]
    script = command if shutil.which("curl") else f"{_CURL}\n{command}"
    return aws.run(["env", *given, "bash", "-c", script], capture=True)
