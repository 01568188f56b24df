"""Planted secrets go every way out of the product, and none gets there; what is ordinary stays as it is."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from alternatives.settings import KEYS, parse
from cli.rows import Defaults, Format, RefusedRow, Row, Rows
from cli.views import named
from components.settings import SettingsError
from evidence.record import Evidence, keep
from local.postgres import Postgres
from tests.cli.conftest import memory_cli
from tests.conftest import AwsAccount
from tests.corpus import SEED, WHOLE, kept, size
from tests.corpus.ordinary import SENTENCES, ordinary, ordinary_ids
from tests.corpus.planted import Planted, is_certain, planted, sentence
from tests.corpus.scanner import Search, leak
from tests.fakes import START, run
from tests.service.conftest import place_on, service_postgres, store_in
from tests.telemetry import worlds
from tests.telemetry.gateway import LeakyGateway
from tests.telemetry.secrets import Secret
from workers.config import ConfigError, read_lambda, read_service
from workers.domain.exits import Redrive
from workers.domain.outcomes import Confirmed, Outcome, Rejected, Retryable, Unknown, admitted
from workers.domain.policy import Policy
from workers.domain.redaction import UNREADABLE, receipt, redact, secret_in, without_secrets
from workers.domain.transaction import Transaction
from workers.domain.transitions import Answer, Claim, decide
from workers.stores.common import arrived

__all__ = ["service_postgres"]

KEPT = [Planted(**one) for one in kept("secret")]
SECRETS = [*planted(SEED, size(5_000, 300)), *KEPT]
ORDINARY = [*ordinary(SEED, size(10_000, 2_000)), *((one["kind"], one["text"]) for one in kept("ordinary"))]
IDS = [*ordinary_ids(SEED, size(10_000, 2_000)), *((one["kind"], one["text"]) for one in kept("id"))]
POLICY = Policy()
Figures = Counter[str]


@pytest.fixture(scope="module")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """What was counted, kept as evidence when all have run."""
    counted: Figures = Counter(secrets=len(SECRETS), ordinary=len(ORDINARY), ordinary_ids=len(IDS))
    began = time.monotonic()
    yield counted
    if WHOLE:
        ways = {name: counted.pop(name) for name in list(counted) if name.startswith("way_")}
        kinds = Counter(secret.kind.split()[0] for secret in SECRETS)
        keep(
            Evidence(
                part="secrets",
                claim="No planted secret leaves by any way, and no ordinary id or reference is masked.",
                command="make corpus",
                passed=not request.session.testsfailed
                and not counted["leaks"]
                and not counted["false_masks"]
                and len(ways) == len(WAYS),
                seconds=time.monotonic() - began,
                figures={
                    "seed": SEED,
                    "leaks": counted["leaks"],
                    "false_masks": counted["false_masks"],
                    "ways_out": len(ways),
                }
                | dict(counted),
                counts={**{name.removeprefix("way_"): count for name, count in ways.items()}, **kinds},
            )
        )


WAYS = ("way_reasons", "way_commands", "way_import", "way_settings", "way_environment", "way_serverless", "way_fargate")
"""Each counts the secrets that were sent by it."""


def _none(figures: Figures, leaked: list[tuple[Planted, str]]) -> None:
    figures["leaks"] += len(leaked)
    assert not leaked, "\n".join(f"{s.kind}, {s.form}: {s.text!r} in {said[:300]!r}" for s, said in leaked[:8])


def test_the_scanner_finds_each_where_it_stands() -> None:
    """Else none of these tests could fail."""
    for number, secret in enumerate(SECRETS):
        said = sentence(secret, number)
        assert leak(secret, said), secret
    assert Search(SECRETS).leaks(["nothing at all", "550e8400-e29b-41d4-a716-446655440000"]) == []
    found = {secret for secret, _ in Search(SECRETS).leaks([secret.text for secret in SECRETS])}
    assert len({one.core for one in found}) > 0.98 * len({one.core for one in SECRETS}), "two may share a part"


def test_no_reason_keeps_one(figures: Figures) -> None:
    """Whatever adapter says it, and whatever a person types: the whole record is searched, with its history."""
    held = decide(arrived(_payment(), START), Claim("t", "w"), START, POLICY)
    desk = decide(held, Answer(Confirmed("ref-1", 5, "USD"), "w"), START, POLICY)
    leaked = []
    for number, secret in enumerate(SECRETS):
        said = sentence(secret, number)
        ends: list[Transaction] = []
        for kind in (Rejected, Retryable, Unknown):
            outcome: Outcome = admitted(kind(said))
            ends.append(decide(held, Answer(outcome, "w"), START + timedelta(seconds=1), POLICY))
        ends.append(decide(desk, Redrive("ann", "bob", said), START, POLICY))
        for told in (redact(said), *map(repr, ends)):
            assert UNREADABLE not in told, f"the masker failed on {said!r}"
            if leak(secret, told):
                leaked.append((secret, told))
    figures["way_reasons"] = len(SECRETS)
    _none(figures, leaked)


def test_nothing_ordinary_is_masked(figures: Figures) -> None:
    wrong = []
    for number, (kind, text) in enumerate(ORDINARY):
        said = SENTENCES[number % len(SENTENCES)].format(text)
        if redact(said) != said or without_secrets(text) != text or secret_in(text):
            wrong.append((kind, text, redact(said)))
    figures["false_masks"] += len(wrong)
    assert not wrong, wrong[:5]


def test_no_ordinary_id_is_masked_or_refused(figures: Figures) -> None:
    wrong = [
        one for one in [*IDS, *ORDINARY] if secret_in(one[1]) or receipt(one[1]) != one[1] or named(one[1]) != one[1]
    ]
    figures["false_masks"] += len(wrong)
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"


def test_no_account_is_quoted_in_a_reason() -> None:
    """Without check digits nobody can tell it from an order's number: so it goes by its value."""
    for account in ("0532013000", "cust-7 main wallet", "12345678"):
        held = decide(arrived(_payment(account), START), Claim("t", "w"), START, POLICY)
        for said in (f"no funds on {account}", f"no funds on {account.upper()[::1]} today"):
            for kind in (Rejected, Retryable, Unknown):
                after = decide(held, Answer(kind(said), "w"), START, POLICY)
                assert account.casefold() not in repr(after._replace(account="")).casefold()
                assert "no funds on [account]" in str(after.history[-1].why) + str(after.reason)


def _payment(account: str = "acct-1") -> Transaction:
    return Transaction("t-1", account, 100, "USD", START, START + timedelta(hours=1))


# --- the command


def test_no_command_shows_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, figures: Figures, tmp_path: Path
) -> None:
    """Accounts and references are secrets, and so is what the gateway's book has."""
    confirm, leaked = memory_cli(capsys, monkeypatch), []
    chosen = SECRETS[:: 5 if WHOLE else 12]
    for number, secret in enumerate(chosen):
        id_ = f"t-{number}"
        reference = secret.text if is_certain(secret) else "ref-1"
        wrong = Confirmed(reference, 99, "USD") if number % 2 else Unknown(f"no answer: {secret.text}")
        held = decide(arrived(_payment(secret.text)._replace(id=id_), START), Claim("t", "w"), START, POLICY)
        confirm.store.records[id_] = decide(held, Answer(wrong, "w"), START, POLICY)
        shown = confirm("show", id_)
        for printed in (shown.out, shown.err, confirm("show", id_, "--json").out):
            if leak(secret, printed):
                leaked.append((secret, printed))
    book = tmp_path / "book.csv"
    with book.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "amount_minor", "currency", "reference"])
        writer.writerows([one.text, 100, "USD", one.text] for one in chosen if is_certain(one))
    search = Search(chosen)
    for arguments in (["review"], ["review", "--json"], ["status", "--all"], ["reconcile", str(book)]):
        result = confirm(*arguments)
        leaked += search.leaks([result.out, result.err])
    leaked += search.leaks([confirm("reconcile", str(book), "--json").out])
    figures["way_commands"] = len(chosen)
    _none(figures, leaked)


def test_no_row_brings_one_into_an_id_or_out_in_a_fault(figures: Figures) -> None:
    """An id is in every line, trace and command: one that is a card or an account never comes in."""
    leaked, defaults = [], Defaults(START, timedelta(hours=1))
    good = {"id": "t-1", "account": "acct-1", "amount_minor": 5, "currency": "USD"}
    for secret in SECRETS:
        ids = [secret.text, f"order-{secret.text}", f"pay:{secret.text}:1"] if is_certain(secret) else []
        lines = [json.dumps({**good, "id": one}) for one in ids]
        lines += [json.dumps({**good, key: secret.text}) for key in ("currency", "deadline", "created_at")]
        lines += [json.dumps({**good, secret.text: 1}), secret.text, json.dumps(secret.text)]
        for row in Rows([("\n".join(line.replace("\n", " ") for line in lines)).encode()], Format.JSONL, defaults):
            told = row.transaction.id if isinstance(row, Row) else " ".join(map(str, row.faults))
            if leak(secret, told):
                leaked.append((secret, told))
        out = io.StringIO()
        csv.writer(out).writerow([*ids[:1], "t-1"][:1] + [secret.text] * 3)
        for row in Rows([b"id,account,amount_minor,currency\n", out.getvalue().encode()], Format.CSV, defaults):
            told = " ".join(map(str, row.faults)) if isinstance(row, RefusedRow) else row.transaction.id
            if leak(secret, told):
                leaked.append((secret, told))
    figures["way_import"] = len(SECRETS)
    _none(figures, leaked)


# --- settings


def test_no_setting_repeats_one(figures: Figures) -> None:
    """What Pulumi prints is in the pipeline's log."""
    leaked, names = [], [key.name for key in KEYS]
    least = {"owner": "payments", "costCenter": "cc-1", "gatewayUrl": "https://payments.example.com"}
    for number, secret in enumerate(SECRETS):
        name = names[number % len(names)]
        for config in (
            {name: secret.text},
            {"gatewayUrl": f"https://a:{secret.text}@b"},
            {"gatewayApiKey": secret.text},
        ):
            try:
                parse({**least, **config})
            except SettingsError as error:
                if leak(secret, str(error)):
                    leaked.append((secret, str(error)))
    figures["way_settings"] = len(SECRETS)
    _none(figures, leaked)


def test_no_worker_s_environment_is_repeated(figures: Figures) -> None:
    leaked = []
    for secret in SECRETS:
        values = dict.fromkeys(
            ("LEASE_SECONDS", "BATCH_SIZE", "GATEWAY_MODE", "RESTORED_TO", "DATABASE_PORT"), secret.text
        )
        for read in (read_lambda, read_service):
            try:
                read(values)
            except ConfigError as error:
                if leak(secret, str(error)):
                    leaked.append((secret, str(error)))
    figures["way_environment"] = len(SECRETS)
    _none(figures, leaked)


# --- both alternatives, whole: the workers' logs, metrics, traces, plans, inputs and outputs of runs, the command


@pytest.mark.skipif(not WHOLE, reason="tests/telemetry plays a slice of it: make corpus plays all")
def test_no_secret_leaves_serverless(aws: AwsAccount, tmp_path: Path, figures: Figures) -> None:
    gateway = LeakyGateway()
    try:
        world = worlds.serverless(aws, gateway, tmp_path, _told())
    finally:
        gateway.stop()
    _nothing_left(world, figures)


@pytest.mark.skipif(not WHOLE, reason="tests/telemetry plays a slice of it: make corpus plays all")
def test_no_secret_leaves_fargate(service_postgres: Postgres, tmp_path: Path, figures: Figures) -> None:
    gateway = LeakyGateway()
    try:
        with place_on(service_postgres, gateway.url, tmp_path) as place, store_in(place) as store:
            world = worlds.fargate(place, service_postgres, store, gateway, tmp_path, _told())
            for record in run(store.review(10_000)):
                world.documents.append(repr(record._replace(account="", gateway_reference=None)))
    finally:
        gateway.stop()
    _nothing_left(world, figures)


def _told() -> list[tuple[Secret, str]]:
    return [
        (Secret(secret.kind, secret.text, secret.core), sentence(secret, number))
        for number, secret in enumerate(SECRETS)
    ]


def _nothing_left(world: worlds.World, figures: Figures) -> None:
    pieces = [*world.log.splitlines(), *world.documents, *map(json.dumps, world.spans)]
    assert len(world.records) > len(SECRETS)
    figures[f"way_{world.alternative}"] = len(SECRETS)
    figures["bytes_searched"] += sum(map(len, pieces))
    _none(figures, Search(SECRETS).leaks(pieces))
