"""Ten thousand malformed inputs: none crashes or leaves anything half done; each is refused in helpful words."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alternatives.settings import KEYS, parse
from cli.exits import Exit
from cli.rows import BadFile, Defaults, Fault, Format, RefusedRow, Row, Rows
from components.settings import SettingsError
from evidence.record import Evidence, keep
from tests.cli.conftest import MemoryCli, memory_cli
from tests.conftest import AwsAccount
from tests.contract.conftest import SHARDS, Database, database, make_table
from tests.corpus import SEED, WHOLE, kept, size
from tests.corpus.nasty import answer, attribute, csv_line, json_line, text, value, wire
from tests.fakes import START, FakeClock, run
from tests.gateway.support import client, payments, raw_server, saying, transaction
from workers.config import ConfigError, read_lambda, read_service
from workers.domain.outcomes import Unknown, admitted
from workers.domain.policy import Policy
from workers.domain.ports import Store
from workers.domain.rules import broken_rule
from workers.domain.transaction import CANARY, Status, Transaction
from workers.gateway.evidence import BOTH, read
from workers.stores.common import arrived
from workers.stores.dynamodb import DynamoDbStore, to_item
from workers.stores.postgres import PostgresStore
from workers.transport.http import BadResponse, HttpError, Response, ResponseParser

__all__ = ["database"]

DEFAULTS = Defaults(START, timedelta(hours=1))
ONE = transaction()
POLICY = Policy()
HEADER = b"id,account,amount_minor,currency"
LONGEST = 700
"""Of a message, whatever it is about."""
Figures = Counter[str]
WAYS = ("rows", "import", "stores", "items", "answers", "wire", "sockets", "settings", "environment")


@pytest.fixture(scope="module")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """How many were played on each way, kept as evidence when all have run."""
    counted: Figures = Counter()
    began = time.monotonic()
    yield counted
    if WHOLE:
        played = sum(counted[way] for way in WAYS)
        keep(
            Evidence(
                part="bad-input",
                claim="No malformed input crashes anything or leaves anything half done; each is refused with what was "
                "found, what is allowed and how to mend it.",
                command="make corpus",
                passed=not request.session.testsfailed and played >= 10_000 and all(counted[way] for way in WAYS),
                seconds=time.monotonic() - began,
                figures={"seed": SEED, "inputs": played, "refused": counted["refused"], "taken": counted["taken"]},
                counts={way: counted[way] for way in WAYS},
            )
        )


def _helps(faults: Sequence[Fault]) -> None:
    assert faults
    for fault in faults:
        for said in (fault.field, fault.found, fault.allowed, fault.fix):
            assert said, fault
            assert said.isprintable(), fault
        assert len(str(fault)) < LONGEST, fault
        assert "Traceback" not in str(fault)
        assert "Error" not in fault.found, fault


# --- rows


def _lines(count: int) -> list[tuple[Format, bytes]]:
    chance = random.Random(SEED)
    lines = [(Format(one["format"]), base64.b64decode(one["line"])) for one in kept("line")]
    for number in range(count):
        make, format_ = (json_line, Format.JSONL) if number % 2 else (csv_line, Format.CSV)
        lines.append((format_, make(chance, number).replace(b"\n", b" ")))
    return lines


def test_each_row_is_taken_whole_or_refused_with_a_word_that_helps(figures: Figures) -> None:
    """One between two good ones, which neither hurts the other."""
    for format_, line in _lines(size(3_000, 400)):
        good = [b"ok-1,acct-1,1,USD", b"ok-2,acct-1,1,USD"]
        if format_ is Format.JSONL:
            good = [
                json.dumps({"id": f"ok-{n}", "account": "a", "amount_minor": 1, "currency": "USD"}).encode()
                for n in "12"
            ]
        whole = b"\n".join([*([HEADER] if format_ is Format.CSV else []), good[0], line, good[1]])
        found = list(Rows([whole], format_, DEFAULTS))
        assert isinstance(found[0], Row), line
        assert isinstance(found[-1], Row), line
        assert len(found) in (2, 3), "one line is one row, or an empty one"
        for row in found[1:-1]:
            if isinstance(row, RefusedRow):
                _helps(row.faults)
                assert row.line == 2 + (format_ is Format.CSV)
                figures["refused"] += 1
            else:
                assert broken_rule(arrived(row.transaction, START)) is None, line
                figures["taken"] += 1
        figures["rows"] += 1


def test_a_header_or_a_whole_file_is_one_or_is_refused_before_anything(figures: Figures) -> None:
    chance = random.Random(SEED + 1)
    for number in range(size(1_000, 150)):
        raw = csv_line(chance, number) if number % 2 else text(chance).encode("utf-8", "surrogatepass")
        whole = raw + b"\nok-1,acct-1,1,USD\n"
        told: list[Sequence[Fault]] = []
        try:
            rows = list(Rows([whole], Format.CSV if number % 3 else Format.JSONL, DEFAULTS))
            told = [row.faults for row in rows if isinstance(row, RefusedRow)]
        except BadFile as bad:
            told = [bad.faults]
        for faults in told:
            _helps(faults)
        figures["rows"] += 1


def test_an_import_accounts_for_every_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: Figures
) -> None:
    """Files of many rows through the command: what is new is in the store, the rest in the file of refused rows."""
    confirm = memory_cli(capsys, monkeypatch)
    for format_ in Format:
        lines = [line for one, line in _lines(size(2_000, 150)) if one is format_ and line.strip()]
        _imported(confirm, format_, lines, tmp_path)
        figures["import"] += len(lines)


def _imported(confirm: MemoryCli, format_: Format, lines: list[bytes], folder: Path) -> None:
    file = folder / f"bad.{format_}"
    head = (
        [HEADER]
        if format_ is Format.CSV
        else [json.dumps({"id": "ok", "account": "a", "amount_minor": 1, "currency": "USD"}).encode()]
    )
    file.write_bytes(b"\n".join([*head, *lines]))
    before = set(confirm.store.records)
    result = confirm("import", str(file), "--json", "--format", format_.value)
    assert result.code == Exit.ROWS_REFUSED, result.err
    assert "Traceback" not in result.err
    told = json.loads(result.out)
    new = set(confirm.store.records) - before
    assert told["new"] == len(new)
    assert told["new"] + told["already"] + told["refused"] == told["rows"] >= len(lines)
    assert told["refused"] > len(lines) / 3
    for record in confirm.store.records.values():
        assert broken_rule(record) is None
    dry = confirm("import", str(file), "--dry-run", "--format", format_.value)
    assert set(confirm.store.records) == before | new, "a trial changes nothing"
    assert dry.out.isascii() or "\x1b" not in dry.out
    assert not any(ord(one) < 32 and one not in "\n\t" for one in dry.err), "nothing steers a terminal"


# --- stores


@pytest.fixture(params=["dynamodb", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """The real ones."""
    if request.param == "postgres":
        database: Database = request.getfixturevalue("database")
        return PostgresStore(database.pool, POLICY, FakeClock())
    aws: AwsAccount = request.getfixturevalue("aws")
    dynamodb = aws.client("dynamodb")
    return DynamoDbStore(dynamodb, make_table(dynamodb), "pending", SHARDS, FakeClock(), POLICY)


def test_no_record_stops_its_neighbours(store: Store, figures: Figures) -> None:
    """Records that no import would let through, brought by another producer's way: taken whole, or refused alone."""
    chance, clock_end = random.Random(SEED + 2), START + timedelta(hours=1)
    for part in range(size(25, 3)):
        batch = []
        for number in range(20):
            one = Transaction(f"p{part}-{number}", "acct-1", 5, "USD", START, clock_end)
            if number % 2:
                field = chance.choice(("id", "account", "amount", "currency", "deadline"))
                wrong: Any = text(chance)[:3_000]
                if field == "amount":
                    wrong = chance.choice((-1, 10**15 + 1, 2**63, 10**30))
                elif field == "deadline":
                    wrong = START - timedelta(days=chance.choice((1, 700_000)))
                one = one._replace(**{field: wrong})
            batch.append(one)
        added = run(store.add(batch))
        assert {*added.new, *added.already, *added.conflicting, *added.refused} == {one.id for one in batch}
        new = set(added.new)
        for one in batch:
            allowed = broken_rule(arrived(one, START)) is None
            good = allowed and one.account.isprintable()
            if one.id.startswith(CANARY) or one.id in (*added.already, *added.conflicting):
                continue  # the database keeps that name to the canaries
            assert one.id in new or not good, one
            if not one.id or len(one.id) > 1_000 or not one.id.isprintable():  # nobody asks for such a one
                continue
            found = run(store.find(one.id))
            if good:
                assert found is not None
                assert (found.account, found.amount, found.currency) == (one.account, one.amount, one.currency)
            elif one.id not in new:
                assert found is None, "refused, and not half done"
            elif (
                not allowed
            ):  # an item of DynamoDB takes everything: it is believed in nothing, and ends on a desk without a call
                claimed = run(store.claim(token=f"t{part}", by="w", limit=1, ids=[one.id]))
                assert not claimed.held, one
        figures["stores"] += len(batch) // 2


def test_no_item_that_something_else_wrote_stops_a_batch(aws: AwsAccount, figures: Figures) -> None:
    chance, clock = random.Random(SEED + 3), FakeClock()
    dynamodb = aws.client("dynamodb")
    place = DynamoDbStore(dynamodb, make_table(dynamodb), "pending", SHARDS, clock, POLICY)
    for part in range(size(20, 2)):
        written: dict[str, bool] = {}
        for number in range(25):
            name, good = f"i{part}-{number}", not number % 5
            one = arrived(Transaction(name, "acct-1", 5, "USD", START, START + timedelta(hours=1)), START)
            item = to_item(one, SHARDS)
            if not good:
                for field in chance.sample([key for key in item if key not in ("id", "pending_shard", "due_at")], 2):
                    item[field] = attribute(chance)
            try:
                dynamodb.put_item(TableName=place.table, Item=item)
            except dynamodb.exceptions.ClientError:  # a key of the index, which must have its type
                continue
            written[name] = good
            figures["items"] += not good
        claimed = run(place.claim(token=f"t{part}", by="w", limit=100, ids=list(written)))
        held = {record.id for record in claimed.held}
        assert {name for name, good in written.items() if good} <= held
        for record in claimed.to_review:
            assert record.status is Status.REVIEW
            assert record.reason
            assert record.reason.isprintable()
        run(place.backlog())
        run(place.review())
        for name in written:
            run(place.find(name))


# --- the gateway's answers


def test_no_malformed_answer_proves_anything(figures: Figures) -> None:
    chance = random.Random(SEED + 4)
    for _ in range(size(1_500, 300)):
        one = answer(chance)
        for verb in BOTH:
            called = read(verb, Response(one.status, one.headers, one.body), ONE)
            outcome = admitted(called.outcome)
            assert isinstance(outcome, Unknown), (verb, one.raw[:300], outcome)
            assert outcome.reason.isprintable()
            assert len(outcome.reason) < 200
            assert not called.healthy
        figures["answers"] += 1


def test_no_bytes_break_the_parser(figures: Figures) -> None:
    chance = random.Random(SEED + 5)
    for _ in range(size(500, 150)):
        raw, parser = wire(chance), ResponseParser()
        pieces = [raw] if chance.random() < 0.5 else [raw[at : at + 7] for at in range(0, min(len(raw), 5_000), 7)]
        reason = ""
        try:
            for piece in pieces:
                if parser.feed(piece) is not None:
                    break
        except BadResponse as error:
            reason = error.reason if error.sent else "not sent"
        assert reason != "not sent"
        assert len(reason) < 100
        figures["wire"] += 1


def test_no_answer_on_a_real_socket_is_believed(figures: Figures) -> None:
    chance = random.Random(SEED + 6)

    async def play() -> None:
        for number in range(size(300, 25)):
            raw = wire(chance) if number % 2 else answer(chance).raw
            async with raw_server(saying(raw)) as server, payments(server.url, timeout_seconds=2) as gateway:
                for outcome in (await gateway.confirm(ONE, "t-1"), await gateway.ask(ONE, "t-1")):
                    assert isinstance(outcome, Unknown), (raw[:200], outcome)
            figures["sockets"] += 1

    asyncio.run(play())


def test_the_client_s_errors_are_its_own(figures: Figures) -> None:
    """Whatever a caller hands in: a key or a path from a row that somebody else wrote."""
    chance = random.Random(SEED + 7)

    async def play() -> None:
        async with client("http://127.0.0.1:9", 1) as http_client:
            for _ in range(size(200, 30)):
                headers, said = {"Idempotency-Key": text(chance)}, ""
                try:
                    await http_client.request("POST", "/" + text(chance)[:50], headers=headers, body=b"{}")
                except (HttpError, ValueError) as error:
                    said = str(error)
                assert said.isprintable()
                assert len(said) < 200
                figures["wire"] += 1

    asyncio.run(play())


# --- settings


LEAST = {"owner": "payments", "costCenter": "cc-1", "gatewayUrl": "https://payments.example.com"}


def _settle(config: dict[str, Any], figures: Figures) -> None:
    refused = None
    try:
        parse(config)
    except SettingsError as error:
        refused = error
    figures["taken" if refused is None else "refused"] += 1
    if refused is None:
        return
    assert len(str(refused)) < 400 + LONGEST * len(refused.problems)
    for problem in refused.problems:
        assert problem.key.isprintable()
        assert problem.found
        assert problem.found.isprintable()
        assert problem.allowed
    if len(refused.problems) == 1 and refused.problems[0].instead is None:
        known = {row.name for row in KEYS}
        mends = {problem.key: problem.mend for problem in refused.problems if problem.mend is not None}
        left: tuple[str, ...] = ()
        try:
            parse({**{key: one for key, one in config.items() if key in known}, **mends})
        except SettingsError as error:  # what two keys keep between each other is told when each can be read
            left = tuple(problem.key for problem in error.problems)
        assert not set(left) & set(mends)


def test_each_wrong_setting_is_told_with_its_mend(figures: Figures) -> None:
    chance, names = random.Random(SEED + 8), [row.name for row in KEYS]
    for one in kept("setting"):
        _settle({**LEAST, one["key"]: "[" * 100_000 if one["value"] == "deep" else one["value"]}, figures)
        figures["settings"] += 1
    for number in range(size(1_300, 200)):
        config: dict[str, Any] = {**LEAST, names[number % len(names)]: value(chance)}
        if chance.random() < 0.1:
            config[text(chance)[:100]] = value(chance)
        if chance.random() < 0.1:
            config[chance.choice(names)] = value(chance)
        _settle(config, figures)
        figures["settings"] += 1


ENVIRONMENT = {
    "STACK": "s", "ALTERNATIVE": "serverless", "ENVIRONMENT": "dev", "METRIC_NAMESPACE": "n", "BATCH_SIZE": "10",
    "GATEWAY_URL": "https://x", "GATEWAY_CONCURRENCY": "5", "GATEWAY_RATE_LIMIT": "0", "LEASE_SECONDS": "180",
    "CLOCK_SKEW_SECONDS": "2", "MAX_ATTEMPTS": "8", "RETRY_BASE_SECONDS": "30", "RETRY_CAP_SECONDS": "900",
    "GATEWAY_TIMEOUT_SECONDS": "10", "GRACE_SECONDS": "60", "KEY_WINDOW_SECONDS": "86400", "REVIEW_SECONDS": "86400",
    "REVIEW_OWNER": "o", "TABLE_NAME": "t", "INDEX_NAME": "i", "PENDING_SHARDS": "4", "PLAN_BUCKET": "b",
    "BATCHES_PER_PLAN": "9", "RUN_LEASE_SECONDS": "900", "DATABASE_HOST": "h", "DATABASE_PORT": "5432",
    "DATABASE_NAME": "d", "DATABASE_USER": "u", "POLL_SECONDS": "1", "STOP_SECONDS": "25", "METRICS_SECONDS": "60",
    "HEARTBEAT_FILE": "alive",
}  # fmt: skip
NUMBERS = ("TRACE_SAMPLING", "CANARY_MINUTES", *(name for name, one in ENVIRONMENT.items() if one.isdigit()))


def test_no_environment_crashes_a_worker_without_its_name(figures: Figures) -> None:
    read_lambda(ENVIRONMENT)
    read_service(ENVIRONMENT)
    chance = random.Random(SEED + 9)
    names = [*NUMBERS, "GATEWAY_MODE", "RESTORED_TO"]
    cases = [(one["name"], one["value"]) for one in kept("environment")]
    cases += [(chance.choice(names), text(chance)) for _ in range(size(500, 150))]
    for name, wrong in cases:
        for read_ in (read_lambda, read_service):
            said = name
            try:
                config = read_({**ENVIRONMENT, name: wrong})
                assert START + config.policy.key_window > START, "every number can be reckoned with"
                figures["taken"] += 1
            except ConfigError as error:
                said = str(error)
                figures["refused"] += 1
            assert name in said or said == "CANARY_ACCOUNT is missing"
            assert said.isprintable()
            assert len(said) < 300
        figures["environment"] += 1
