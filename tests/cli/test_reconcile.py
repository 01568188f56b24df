"""`confirm reconcile`: our book against the gateway's, on every store."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from cli.exits import Exit
from local.postgres import Postgres
from tests.cli.conftest import Cli, MemoryCli, make_database, on_database, on_table
from tests.cli.test_commands import ACCOUNT, add, confirm, in_review, memory, settle
from tests.conftest import AwsAccount
from tests.contract.conftest import bring_in, make_table
from tests.fakes import START, FakeClock
from workers.domain.outcomes import Confirmed, Rejected
from workers.domain.ports import Store
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer, Claim, decide
from workers.stores.common import arrived
from workers.stores.dynamodb import DynamoDbStore, to_item

__all__ = ["confirm", "memory"]

HEADER = "id,amount_minor,currency"


def book(folder: Path, *lines: str, header: str = HEADER) -> str:
    path = folder / "ledger.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return str(path)


def done(confirm: Cli, *ids: str) -> None:
    add(confirm, *ids)
    for id_ in ids:
        settle(confirm, id_, Confirmed("ref", 1250, "USD"))


def test_equal_books(confirm: Cli, tmp_path: Path) -> None:
    done(confirm, "a", "b")
    add(confirm, "open")
    lines = ("b,1250,USD,r-2", "a,1250,USD,r-1")
    result = confirm("reconcile", book(tmp_path, *lines, header=HEADER + ",reference"))
    assert result.code == Exit.OK
    assert "The books agree" in result.out
    found = json.loads(confirm("reconcile", "--json", str(tmp_path / "ledger.csv")).out)
    both = {"count": 2, "amount": 2500}
    assert found["currencies"] == {"USD": {"ours": both, "theirs": both}}
    assert (found["equal"], found["differences_total"], found["differences"]) == (True, 0, [])


def test_every_way_to_differ_is_named_and_counted(confirm: Cli, tmp_path: Path) -> None:
    done(confirm, "fine", "twice", "less", "euros", "never")
    add(confirm, "open", "refused", "untouched")
    settle(confirm, "refused", Rejected("closed"))
    in_review(confirm, "desk")
    lines = [f"{id_},1250,USD" for id_ in ("fine", "twice", "twice", "open", "refused", "desk", "ghost")]
    path = book(tmp_path, *lines, "less,1249,USD", "euros,1250,EUR", "spook,7,JPY", "spook,7,JPY")
    result = confirm("reconcile", path, "--json")
    assert result.code == Exit.BOOKS_DIFFER
    found = json.loads(result.out)
    assert {one["id"]: one["kind"] for one in found["differences"]} == {
        "twice": "doubled",
        "less": "other-amount",
        "euros": "other-currency",
        "never": "not-moved",
        "open": "moved-but-open",
        "refused": "moved-but-rejected",
        "desk": "moved-but-on-a-desk",
        "ghost": "moved-but-unknown",
        "spook": "doubled",
    }
    assert found["counts"]["doubled"] == 2
    assert found["currencies"]["USD"] == {
        "ours": {"count": 5, "amount": 6250},
        "theirs": {"count": 8, "amount": 9999},
    }
    text = confirm("reconcile", path).out
    assert "twice: doubled; here CONFIRMED 12.50 USD, moved 25.00 USD" in text
    assert "ghost: moved-but-unknown; here unknown, moved 12.50 USD" in text
    plain = " ".join(text.split())
    assert "never bring it in while `mode` is confirm" in plain
    assert "In `mode: shadow`, bring it in with `confirm import` and its true created_at" in plain
    assert ACCOUNT not in text + result.out


def test_a_book_that_begins_later_need_not_have_the_older_ones(confirm: Cli, tmp_path: Path) -> None:
    done(confirm, "old", "new")
    settled = confirm.find("new").settled_at
    assert settled is not None
    path = book(tmp_path, "new,1250,USD")
    assert confirm("reconcile", path).code == Exit.BOOKS_DIFFER
    assert confirm("reconcile", path, "--since", settled.isoformat()).code == Exit.OK
    wrong = confirm("reconcile", path, "--since", "2026-11-01")
    assert wrong.code == Exit.USAGE
    assert "with its zone" in wrong.err


def test_sums_may_have_any_size(memory: MemoryCli, tmp_path: Path) -> None:
    path = book(tmp_path, *(f"big-{n},{10**16 - 1},USD" for n in range(1000)))
    found = json.loads(memory("reconcile", path, "--json").out)
    assert found["currencies"]["USD"]["theirs"] == {"count": 1000, "amount": 1000 * (10**16 - 1)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "found no column id, amount_minor, currency"),
        ("id,amount,currency\na,1,USD\n", "found no column amount_minor"),
        (f"{HEADER}\na,1250,USD\nb,12.50,USD\n", "line 3: found no such amount_minor; allowed: whole minor units"),
        (f"{HEADER}\na,-5,USD\n", "line 2: found no such amount_minor"),
        (f"{HEADER}\na,5,usd\n", "line 2: found no such currency"),
        (f"{HEADER}\na,5\n", "line 2: found 2 fields; allowed: 3"),
        (f"{HEADER}\n,5,USD\n", "line 2: found no id"),
        (f'{HEADER}\n"a,5,USD\n', "the end of the file inside a quoted field"),
    ],
)
def test_half_a_book_proves_nothing(memory: MemoryCli, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text(text)
    result = memory("reconcile", str(path))
    assert result.code == Exit.ERROR
    assert says in result.err
    assert result.out == ""


def test_a_file_that_is_not_there_or_no_text(memory: MemoryCli, tmp_path: Path) -> None:
    assert "No such file" in memory("reconcile", str(tmp_path / "none.csv")).err
    (tmp_path / "ledger.csv").write_bytes(f"{HEADER}\n".encode() + b"\xff\xfe\n")
    assert "CSV in UTF-8" in memory("reconcile", str(tmp_path / "ledger.csv")).err


ODD_ITEMS = [
    {"settled_at": {"S": "yesterday"}},
    {"settled_at": {"N": "7"}},
    {"status": {"S": "CONFIRMED"}, "amount": {"N": "12.5"}, "currency": {"S": "USD"}},
    {"status": {"S": "CONFIRMED"}, "amount": {"N": "1250"}, "currency": {"S": "USD"}, "settled_at": {"S": "soon"}},
    {"status": {"S": "DONE"}, "amount": {"N": "1250"}, "currency": {"S": "USD"}},
]


def test_an_odd_item_is_counted_as_unreadable_and_stops_no_other(
    aws: AwsAccount, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client, clock = aws.client("dynamodb"), FakeClock()
    table = make_table(client)

    confirm = Cli(capsys, monkeypatch, clock, on_table(client, table, clock)).sit_down()
    done(confirm, "a", "b")
    for number, item in enumerate(ODD_ITEMS):
        client.put_item(TableName=table, Item={"id": {"S": f"odd-{number}"}, **item})
    path = book(tmp_path, "a,1250,USD", "b,1249,USD", "odd-2,1250,USD")
    result = confirm("reconcile", path, "--json")
    assert result.code == Exit.BOOKS_DIFFER
    found = json.loads(result.out)
    assert found["counts"] == {"other-amount": 1, "unreadable": len(ODD_ITEMS)}
    assert {one["id"]: one["moved_minor"] for one in found["differences"] if one["kind"] == "unreadable"} == {
        f"odd-{number}": 1250 if number == 2 else 0 for number in range(len(ODD_ITEMS))
    }
    assert found["currencies"]["USD"]["ours"] == {"count": 2, "amount": 2500}
    said = confirm("reconcile", path).out
    assert "odd-2: unreadable; here unreadable, moved 12.50 USD" in said


def test_an_odd_row_is_counted_as_unreadable_and_stops_no_other(
    postgres: Postgres, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A time that PostgreSQL has and Python has not, whoever wrote it there."""
    url, clock = asyncio.run(make_database(postgres)), FakeClock()

    confirm = Cli(capsys, monkeypatch, clock, on_database(url, clock)).sit_down()
    done(confirm, "a", "odd")

    async def spoil() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "SET session_replication_role = replica;"
            "UPDATE transactions SET settled_at = '100000-01-01' WHERE id = 'odd'"
        )
        await connection.close()

    asyncio.run(spoil())
    found = json.loads(confirm("reconcile", book(tmp_path, "a,1250,USD", "odd,1250,USD"), "--json").out)
    assert found["counts"] == {"unreadable": 1}
    assert found["currencies"]["USD"]["ours"] == {"count": 1, "amount": 1250}


CANARIES = [f"canary-20260105T09{minute:02}00Z" for minute in range(5)]


def rows_of(*rows: tuple[str, int, str]) -> list[Transaction]:
    return [Transaction(id_, ACCOUNT, amount, code, START, START + timedelta(days=1)) for id_, amount, code in rows]


def paid(confirm: Cli, *rows: tuple[str, int, str]) -> None:
    """These, brought in past every check and confirmed: on DynamoDB by a version that still confirmed them."""

    async def before(store: Store) -> None:
        if not isinstance(store, DynamoDbStore):
            await bring_in(store, rows_of(*rows))
            return
        now, policy = confirm.clock.now(), confirm.target.policy
        for one in rows_of(*rows):
            held = decide(arrived(one, now), Claim("t", "run-1/7"), now, policy)
            ended = decide(held, Answer(Confirmed("ref", one.amount, one.currency), "run-1/7"), now, policy)
            store.client.put_item(TableName=store.table, Item=to_item(ended, store.shards))

    confirm.at(before)
    for id_, amount, code in rows:
        if confirm.find(id_).status is Status.PENDING:
            settle(confirm, id_, Confirmed("ref", amount, code))


def test_canaries_are_a_line_of_their_own(confirm: Cli, tmp_path: Path) -> None:
    done(confirm, "a")
    paid(confirm, *((id_, 1, "USD") for id_ in CANARIES[:3]))
    forgotten = f"{CANARIES[4]},1,USD"  # here; in the gateway's book for ever. And one is in no book of it
    path = book(tmp_path, "a,1250,USD", *(f"{id_},1,USD" for id_ in CANARIES[:2]), forgotten)
    result = confirm("reconcile", path)
    assert result.code == Exit.OK
    assert "Besides, canaries: 3 confirmed, 0.03 USD; 3 effects, 0.03 USD." in result.out
    found = json.loads(confirm("reconcile", "--json", path).out)
    both, three = {"count": 1, "amount": 1250}, {"count": 3, "amount": 3}
    assert (found["currencies"], found["canaries"]) == ({"USD": {"ours": both, "theirs": both}}, 3)
    assert found["canary_sums"] == {"ours": three, "theirs": three}
    states = json.loads(confirm("status", "--all", "--json").out)["states"]
    assert states["CONFIRMED"] == {"count": 1, "amounts_minor": {"USD": 1250}}


def test_what_a_canary_costs_too_much_is_a_difference(confirm: Cli, tmp_path: Path) -> None:
    paid(confirm, *((id_, 1, "USD") for id_ in CANARIES[:2]))
    lines = (f"{CANARIES[0]},1,USD", f"{CANARIES[0]},1,USD", f"{CANARIES[1]},100,USD", f"{CANARIES[2]},100,USD")
    found = json.loads(confirm("reconcile", book(tmp_path, *lines), "--json").out)
    assert {one["id"]: one["kind"] for one in found["differences"]} == {
        CANARIES[0]: "doubled",
        CANARIES[1]: "other-amount",
        CANARIES[2]: "moved-but-unknown",
    }


@pytest.mark.parametrize(("id_", "code"), [("canary-1", "EUR"), (CANARIES[0], "EUR"), (CANARIES[0], "USD")])
def test_no_payment_hides_behind_a_canarys_name(confirm: Cli, tmp_path: Path, id_: str, code: str) -> None:
    amount = 99_999_999_999
    paid(confirm, (id_, amount, code))
    states = json.loads(confirm("status", "--all", "--json").out)["states"]
    assert states["CONFIRMED"] == {"count": 1, "amounts_minor": {code: amount}}
    one, nothing = {"count": 1, "amount": amount}, {"count": 0, "amount": 0}
    found = json.loads(confirm("reconcile", path := book(tmp_path, f"{id_},{amount},{code}"), "--json").out)
    assert (found["currencies"], found["equal"]) == ({code: {"ours": one, "theirs": one}}, True)
    assert found["canary_sums"] == {"ours": nothing, "theirs": nothing}
    book(tmp_path, f"{id_},1,USD")
    found = json.loads(confirm("reconcile", path, "--json").out)
    assert found["counts"] == {"other-amount" if code == "USD" else "other-currency": 1}
    book(tmp_path)
    assert json.loads(confirm("reconcile", path, "--json").out)["counts"] == {"not-moved": 1}


@pytest.mark.parametrize("id_", ["RF18 kay\u0131t", "&#" + "1" * 250 + ";", "\\" * 256])
def test_a_book_of_any_ids_is_compared(memory: MemoryCli, tmp_path: Path, id_: str) -> None:
    file = tmp_path / "ledger.csv"
    file.write_text(f"id,amount_minor,currency\n{id_},1250,EUR\n")
    result = memory("reconcile", str(file), "--json")
    assert result.code == Exit.BOOKS_DIFFER
    assert len(json.loads(result.out)["differences"]) == 1


def test_two_of_the_book_have_two_names(memory: MemoryCli, tmp_path: Path) -> None:
    file = tmp_path / "ledger.csv"
    file.write_text(
        "id,amount_minor,currency\n4111111111111111,1,EUR\n4222222200061111,1,EUR\n4000000667341111,1,EUR\n"
    )
    told = [one["id"] for one in json.loads(memory("reconcile", str(file), "--json").out)["differences"]]
    assert len(set(told)) == 3
    assert all(name in memory("reconcile", str(file)).out for name in told)
