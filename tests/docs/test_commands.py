"""Every command that a page shows is played by a test, which takes it from the page, or has a reason why not.

The stories of tests/local play those that want a stack: they call `shown`. This file plays those of `aws` that want no
more than an account, and names what nobody plays.
"""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import pytest

from local.aws_cli import call_of, filled, play
from local.emulator import REGION
from tests.conftest import AwsAccount
from tests.docs.markdown import ROOT, documents
from tests.docs.shown import UNPLAYED, Unplayed, commands, parts, recipe, shown

RUNBOOKS = "tests/local/test_runbooks.py::test_their_commands_run"
"""Plays every command of docs/runbooks, by itself."""
PLAIN = "tests/local/test_plain_cli.py"
PREVIEW, KEPT = (
    "test_a_preview_makes_nothing_and_keeps_the_policies",
    "test_a_plan_is_applied_and_a_changed_setting_changes_just_its_alarms",
)
PROGRAMS = ("make", "pulumi", "confirm", "aws", "python", "curl", "git")
SAID = {
    "make preview": Unplayed("the policies' page has its command", (f"{PLAIN}::{PREVIEW}",)),
    "make up": Unplayed("the same of `pulumi up`", (f"{PLAIN}::test_up_makes_the_rest",)),
    "make demo ALTERNATIVE=serverless": UNPLAYED["make demo"],
    "make clean": Unplayed("takes away what the tests stand on"),
    "pulumi stack output --json": Unplayed(
        "the stories read their outputs by it", (f"{PLAIN}::test_up_makes_the_rest",)
    ),
    "pulumi preview --save-plan": Unplayed("wants a file", (f"{PLAIN}::{KEPT}",)),
    "pulumi up --plan": Unplayed("wants a file", (f"{PLAIN}::{KEPT}",)),
    "pulumi refresh --preview-only": Unplayed(
        "the pipeline's step `drift`", ("tests/pipeline/test_true_run.py::test_exactly_the_plan_is_applied",)
    ),
    **dict.fromkeys(
        ("confirm requests REQUEST", "confirm withdraw REQUEST"),
        Unplayed(
            "wants a request that waits",
            ("tests/cli/test_commands.py::test_a_request_that_was_withdrawn_or_has_ended_is_not_approved",),
        ),
    ),
    "confirm requests": UNPLAYED["confirm requests"],
    "aws sso login": Unplayed("wants a browser, and IAM Identity Center"),
    "confirm canary": Unplayed(
        "it pays, by way of the pipeline's step `verify`",
        ("tests/cli/test_postgres.py::test_canaries_come_as_their_own_role",),
    ),
    "pulumi stack import": Unplayed("what we decided against"),
    "python -m demo.cdnow > purchases.csv": Unplayed(
        "the same without a shell", ("tests/cli/test_cdnow.py::test_what_it_writes_is_what_import_takes",)
    ),
    **dict.fromkeys(
        ("python -m benchmarks.rate_limit", "python -m benchmarks.rate_limit --full"),
        Unplayed(
            "takes minutes; the same on a clock of its own",
            ("tests/gateway/test_shares.py::test_all_workers_keep_one_limit_use_it_and_share_it",),
        ),
    ),
    "python -m benchmarks.books": Unplayed(
        "takes minutes; the same on small books",
        ("tests/benchmarks/test_books.py::test_what_is_planted_is_found_and_nothing_else",),
    ),
    "python -m benchmarks.find": Unplayed(
        "takes minutes; the same on fewer rows",
        ("tests/benchmarks/test_find.py::test_what_is_found_and_what_it_reads",),
    ),
    "python -m benchmarks.postgres growth snapshot": Unplayed("fills in millions of rows first"),
}
"""Commands within a sentence that no block shows: why, or what runs them."""


# -- who plays what


@dataclass(frozen=True, slots=True)
class Player:
    test: str
    commands: tuple[str, ...]


@cache
def players() -> list[Player]:
    """Every test that calls `shown`, with what it gets."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        if "shown(" not in source:
            continue
        for function in ast.parse(source).body:
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                    if ast.unparse(call.func) == "shown":
                        assert not [mark for mark in function.decorator_list if "skip" in ast.unparse(mark)]
                        given = [ast.literal_eval(argument) for argument in call.args]
                        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
                        gets = tuple(commands(*given, **named))
                        found.append(Player(f"{path.relative_to(ROOT)}::{function.name}", gets))
    return found


def played() -> set[str]:
    by_stories = {part for player in players() for command in player.commands for part in parts(command)}
    by_runbooks = {command for name, page in documents().items() if "docs/runbooks/" in name for command in page.shell}
    return by_stories | by_runbooks


def in_blocks() -> dict[str, str]:
    """Command to the page that shows it."""
    return {
        part: name for name, page in documents().items() for command in page.shell for part in parts(command)
    }  # fmt: skip


def test_every_command_of_a_block_is_played_or_has_a_reason_why_not() -> None:
    known = played() | UNPLAYED.keys()
    unknown = {command: page for command, page in in_blocks().items() if command not in known}
    assert unknown == {}, "let a test play it by `shown`, or give the reason in UNPLAYED (both in tests/docs/shown.py)"


def test_every_row_is_still_shown_and_not_played_as_well() -> None:
    assert UNPLAYED.keys() - in_blocks().keys() == set()
    assert UNPLAYED.keys() & played() == set()


def test_no_player_comes_away_with_nothing() -> None:
    assert [player.test for player in players() if not player.commands] == []
    assert len(players()) > 15


def test_the_tests_named_are_there() -> None:
    for test in {RUNBOOKS, *(test for row in (*UNPLAYED.values(), *SAID.values()) for test in row.instead)}:
        path, _, name = test.partition("::")
        functions = [one for one in ast.parse((ROOT / path).read_text()).body if isinstance(one, ast.FunctionDef)]
        assert name in {function.name for function in functions}, test


def spans() -> dict[str, str]:
    """Commands within a sentence, by the page. Synopses are none: test_docs.py holds them to the options there are."""
    return {
        span: name
        for name, page in documents().items()
        for span in page.spans
        if span.split()[0] in PROGRAMS and " " in span and not set("[<") & set(span) and "..." not in span
        if not (name == "docs/confirm-command.md" and span.startswith("confirm "))
    }


def begins(span: str, command: str) -> bool:
    """Is it the beginning of that command? A word in capitals stands for any."""
    pairs = list(zip(span.split(), command.split(), strict=False))
    return len(pairs) == len(span.split()) and all(said == word or said.isupper() for said, word in pairs)


def test_every_command_in_a_sentence_is_or_begins_one_of_these() -> None:
    known = {*played(), *UNPLAYED, *SAID}
    assert {span: page for span, page in spans().items() if not any(begins(span, one) for one in known)} == {}
    assert SAID.keys() - spans().keys() == set()


# -- those of AWS


def test_the_operators_policy_is_attached(aws: AwsAccount) -> None:
    iam, trust = aws.client("iam"), '{"Version": "2012-10-17", "Statement": []}'
    iam.create_role(RoleName="payment-operators", AssumeRolePolicyDocument=trust)
    nothing = '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}'
    arn = iam.create_policy(PolicyName="operators", PolicyDocument=nothing)["Policy"]["Arn"]
    with shown("docs/security.md", "Who may do what") as page:
        for command in page:
            call_of(aws.client, filled(command, {"operatorPolicyArn": arn}, {})).made()
    attached = iam.list_attached_role_policies(RoleName="payment-operators")["AttachedPolicies"]
    assert [policy["PolicyArn"] for policy in attached] == [arn]


def test_whether_the_account_copies_tables_is_asked(aws: AwsAccount) -> None:
    with shown("docs/environments.md", "Copies") as page:
        for command in page:
            call_of(aws.client, command).made()


def test_a_restored_cluster_takes_the_place_of_the_one_that_was() -> None:
    """As far as words go: the local AWS restores and renames no cluster. PostgreSQL itself goes back in
    tests/service/test_point_in_time.py."""
    words, seen = {"CLUSTER": "c"}, []
    with shown("docs/restore.md", "2. Restore, under the same name", block=1) as page:
        assert next(page) == "CLUSTER=$(pulumi stack output databaseClusterId)"
        for command in page:
            for part in parts(command):
                play(on_paper, part, words, truly=False)
                seen.append(part)
    (restore,) = [one for one in seen if " restore-db-cluster" in one]
    # AWS's default security group, and a subnet group that nothing can change later, are what it would get untold
    for flag in ("--db-subnet-group-name", "--vpc-security-group-ids", "--db-cluster-parameter-group-name"):
        assert flag in restore
    changing = [at for at, one in enumerate(seen) if re.match(r"aws rds (restore|modify|create)", one)]
    assert all(" wait " in seen[at + 1] for at in changing), "each is waited for"


def test_nothing_is_deleted_before_there_is_a_backup_of_the_restored_table() -> None:
    """Typed line by line, whatever fails: the deletion hangs on the backup's own word."""
    with shown("docs/restore.md", "2. Restore, under the same name", block=0) as page:
        (command,) = [one for one in page if "delete-table" in one]
    first, *rest = parts(command)
    assert first.startswith('test "$(aws dynamodb describe-backup')
    assert first.endswith("= AVAILABLE")
    assert [one for one in rest if "delete-table" in one]


def test_no_command_holds_a_secret() -> None:
    """A shell keeps its history, and everybody on a machine sees the words of its processes."""
    shown_ = [command for page in documents().values() for command in page.shell]
    given = [found for one in shown_ for found in re.findall(r"--secret-string (\S+)", one)]
    assert given
    assert set(given) == {"file:///dev/stdin"}


def on_paper(service: str) -> Any:
    """A client that is never asked."""
    return boto3.client(service, region_name=REGION, aws_access_key_id="none", aws_secret_access_key="none")


@pytest.mark.parametrize("command", [command for command in UNPLAYED if command.startswith("aws ")])
def test_what_aws_alone_can_do_is_asked_in_its_words(command: str) -> None:
    assert call_of(on_paper, command).mistakes() == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("aws fis start-experiment --experiment-template EXT", "experiment-template"),
        ("aws fis begin-experiment --experiment-template-id EXT", "begin_experiment"),
        ("aws fis start-experiment --tags EXT", "experimentTemplateId"),
        ("aws ce update-cost-allocation-tags-status --cost-allocation-tags-status Tag=Stack,Status=On", "TagKey"),
    ],
)
def test_wrong_words_are_seen(words: str, says: str) -> None:
    try:
        found = call_of(on_paper, words).mistakes()
    except (KeyError, AssertionError) as error:
        found = str(error)
    assert says in found


# -- those of make


@pytest.mark.parametrize("command", [command for command in in_blocks() if "make " in command])
def test_make_has_it_and_heeds_what_it_is_given(command: str) -> None:
    words = recipe(command)
    for name, value in (word.split("=", 1) for word in shlex.split(command.partition("make ")[2]) if "=" in word):
        assert set(shlex.split(value)) <= {part for word in words for part in word.split()}, f"{name} is not heeded"
