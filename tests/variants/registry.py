"""The product, broken in one place at a time. No such switch is in the product: each variant replaces a piece of its text
while a test or a life of the simulator runs (edits.py).

`ASKED` says which faults must be there: those that other queues and payment systems really had ("E"), those that this
product had itself and that were mended ("M"), and those that once survived every test ("S").
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.variants.edits import Code, Edit, Migration, Sql, Value
from tests.variants.known import load
from workers.domain.outcomes import Retryable

ASKED: Mapping[str, str] = {
    # claim
    "E1": "no state predicate",
    "E2": "terminal allowed",
    "E3": "live lease taken over",
    "E4": "boundary < and <=",
    "E5": "token not renewed",
    "E6": "token is the worker's name",
    "E7": "whole batch leased at once, effects later",
    "E8": "SKIP LOCKED dropped",
    "E9": "FOR UPDATE dropped",
    "E10": "stale index hit not re-checked",
    "E11": "claim from a reader",
    "E12": "own won claim not recognised after a lost answer",
    "E13": "newest first",
    "E14": "cursor dropped after page 1",
    "E15": "lower time bound on what is pending",
    # effect
    "E16": "key for each attempt",
    "E17": "key not stored before the call",
    "E18": "token not looked at again before the call",
    "E19": "time-out means failed",
    "E20": "time-out means success",
    "E21": "resend past the key window",
    "E22": "first 'not found' means declined",
    "E23": "same key, other amount",
    "E24": "amounts as floats",
    "E25": "exponent of JPY and KWD",
    "E26": "currency ignored",
    "E27": "4xx retried for ever",
    "E28": "5xx is final",
    "E29": "429 eats attempts",
    # settle
    "E30": "by id only",
    "E31": "by state only",
    "E32": "no owner is accepted",
    "E33": "late result that nobody else claimed is lost",
    "E34": "history outside the transaction",
    "E35": "history without a reason",
    "E36": "final state overwritten by a sweep",
    "E37": "money total not kept",
    # lease and crash
    "E38": "heartbeat without the token",
    "E39": "heartbeat outlives the settle",
    "E40": "takeover by age, ignores the heartbeat",
    "E41": "takeover never looks at the next page",
    "E42": "worker's clock instead of the datastore's",
    "E43": "crash does not count as an attempt",
    "E44": "bound of attempts off by one",
    "E45": "SIGTERM releases others' leases",
    "E46": "released to PENDING after the effect",
    "E47": "what is exhausted is dropped silently",
    "E48": "unexpected error ends the payment",
    # operations
    "E49": "redrive of what is CONFIRMED",
    "E50": "redrive resets the key",
    "E51": "who asks also approves",
    "E52": "card number in a log line",
    # money first
    "M1": "another amount at the first attempt leaves no trace of sending, and its redrive pays twice",
    "M1b": "a redrive forgets that it was sent",
    "M2": "shadow mode after a restore puts on a desk what was never asked about",
    "M2b": "shadow mode takes what is unknown for not done",
    "M2c": "what others may have sent until shadow mode was left is believed unsent",
    "M3": "an unknown outcome goes to a desk when attempts are used up",
    "M4": "a stranger's 404 is evidence",
    "M5": "leases are looked up by id: two calls for one payment",
    "M6": "the canary's name hides any payment",
    "M7": "history follows what a claim picked, not what it changed",
    "M7b": "one row that refuses its claim stops all others",
    "M8": "the wait does not grow after a try that is not counted",
    "M8b": "history without a bound",
    "M9": "an item from elsewhere is believed",
    "M10": "text of an adapter goes on as it came",
    "M10b": "one item that refuses its settle fails its neighbours",
    "M11": "a receipt is stored masked",
    "M12": "a key that cannot be read anew is thrown away",
    "M13": "a lost datastore frees all calls",
    "M14": "the run lock is not renewed by its batches",
    "M15": "a plan reads every shard to its full size",
    "M19": "an import takes a deadline that no datastore takes",
    "M20": "lowered shards strand what is in the others",
    "M21": "a first send that a wrong clock dated is believed",
    # the desk
    "D1": "what a desk only asks about is sent",
    "D2": "only the newest key is asked about",
    "D3": "decided while an effect may still come",
    "D4": "cancelled without evidence, though possibly sent",
    "D5": "another amount is accepted, and not written down",
    "D6": "done is believed with another amount",
    "D7": "refused or cancelled in shadow mode, where others may still send",
    "D8": "a redrive of what was never sent is not asked about",
    "D9": "the desk's deadline begins anew with a question",
    "D10": "an exit writes what nobody can read",
    "D11": "a pause by hand stops nobody who is at work",
    "D12": "sending goes on while it is paused",
    # survived by every test once
    "S1": "history outside the transaction of its change",
    "S2": "a redrive without its fence",
    "S3": "the lease not looked at again between question and send",
    "S4": "the key window counted from the last send",
    "S5": "no room in the key window for the call itself",
    "S6": "a resend past the deadline",
    "S7": "the worker's name as its token",
    "S8": "a stale read decides whose write it was",
    "S9": "the own claim not recognised after a lost answer, in the service",
    "S10": "the cursor of DynamoDB's pages dropped after the first",
    "S11": "callers not waited for at a stop",
}  # fmt: skip

IMPOSSIBLE: Mapping[str, str] = {
    "E11": "a claim is one UPDATE: a reader refuses it, and the service takes that for a lost database"
    " (tests/contract/test_fence.py::test_a_reader_takes_no_claim)",
}
"""What the design leaves no place for, and the test that shows it."""


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    of: tuple[str, ...]
    """Which of ASKED it is; none for one that an oracle needs."""
    edits: tuple[Edit, ...]
    tests: str
    """Of pytest: the files worth running with it, and `-k`."""
    unseen: str = ""
    """Why no life of the simulator can find it; else known.json has what does."""
    model: tuple[Edit, ...] = ()
    """For the simulator: the same of what it has in place of PostgreSQL's statements."""

    @property
    def in_a_life(self) -> tuple[Edit, ...]:
        """Where there is no PostgreSQL, statements are not broken, but what stands for them."""
        of_python = (one for one in self.edits if isinstance(one, Code | Value) and not getattr(one, "in_tests", False))
        there = importlib.util.find_spec("simulation.stores") is not None
        return (*of_python, *(self.model if there else ()))

    @property
    def stores(self) -> str:
        """Where its edits are: in the core, or in one store."""
        files = {edit.file for edit in self.edits if not edit.file.startswith("simulation/")}
        found = [
            name
            for name, parts in (
                ("postgres", ("postgres", "/sql/", "migrations", "database/", "service/")),
                ("dynamodb", ("dynamodb", "serverless/")),
            )
            if any(part in file for file in files for part in parts)
        ]
        core = any(not any(part in file for part in _OF_A_STORE) for file in files)
        return "both" if core or len(found) == 2 else found[0]


_OF_A_STORE = ("postgres", "/sql/", "migrations", "database/", "service/", "dynamodb", "serverless/")

# --- where ------------------------------------------------------------------------------------------------------------

MODEL = "simulation.stores.postgres:"
TRANSITIONS, CONFIRMING = "workers.domain.transitions:", "workers.domain.confirming:"
DYNAMODB, POSTGRES = "workers.stores.dynamodb:", "workers.stores.postgres:"
EXITS, DESK = "workers.domain.exits:", "workers.domain.desk:"
STREAM, EVIDENCE = "workers.service.stream:", "workers.gateway.evidence:"

_DOMAIN = "tests/domain/test_transitions.py tests/domain/test_confirming.py tests/domain/test_sending.py"
_STORE = "tests/contract/test_fence.py tests/contract/test_store.py tests/contract/test_evidence.py"
_CORE = f"{_DOMAIN} {_STORE} -k 'domain or memory or postgres'"
"""Of what is in the core: the model and PostgreSQL, whose tests are quick. The same code runs over DynamoDB."""
_DYNAMO = f"{_STORE} tests/contract/test_dynamodb.py -k 'dynamodb or whose_write or plan_reads or marking'"
_RACES = "tests/contract/test_fence.py tests/contract/test_store.py tests/contract/test_postgres.py -k '(racing or share) and postgres or waits_for_nobody or share_nothing or wait_for_none'"
_BOTH = f"{_STORE} -k 'postgres or dynamodb'"
_SHADOW = "tests/contract/test_shadow.py tests/contract/test_evidence.py -k 'memory or postgres'"
_STREAM = "tests/service/test_source.py tests/service/test_stream.py"
_BOUNDS = "tests/contract/test_evidence.py -k '(a_day_without or take_turns) and memory'"
_LATE = "tests/domain/test_sending.py tests/contract/test_evidence.py -k '(deadline or due or turn) and (sending or memory)'"
_PAUSED = "tests/domain/test_pause.py tests/serverless/test_handlers.py -k 'pause or paused'"
_READ = "tests/gateway/test_evidence.py tests/gateway/test_payments.py"


def _proof(status: int, word: str, verb: str, **changes: Any) -> Value:
    """A row of the table of evidence, changed."""

    def new(rows: Any) -> Any:
        return {**rows, (verb, status, word): rows[(verb, status, word)]._replace(**changes)}

    return Value(f"{EVIDENCE}ROWS", new, f"{verb} {status} {word}: {changes}")


def _constant(where: str, new: object) -> Value:
    return Value(where, lambda _: new, repr(new))


_REJECTED, _RETRYABLE = "workers.domain.outcomes:Rejected", "workers.domain.outcomes:Retryable"
_LATER = """number = (await sql.SETTLE.one(self.pool, ended)).number
    for before, after in moves:
        line = after.history[-1]
        await self.pool.execute(
            "INSERT INTO history (transaction_id, version, claimed_at, claimed_by, taken_over, token, claim_attempt, at,"
            " by, was, now, attempt, why, cause) SELECT id, version, claimed_at, claimed_by, taken_over, $2, $3, $4, $5,"
            " 'PROCESSING', status, attempt, $6, $7 FROM transactions WHERE id = $1 AND version = $8 AND status = $9",
            before.id, before.token, before.attempt, line.at, line.by, line.why, line.cause, after.version, after.status,
        )
    if number == len(moves):"""
"""The line of history, written by a statement of its own after that of the change."""
_LEASE_SQL = """AND (t.lease_until IS NULL OR t.lease_until < clock.now - :skew::interval
           OR t.lease_until > clock.now + interval '2 hours')"""
_QUEUE_SQL = """WHERE t.due_at IS NOT NULL
      AND t.due_at <= clock.now
      AND (t.due_at, t.id) > (:after_due_at::timestamptz, :after_id::text)"""

VARIANTS: tuple[Variant, ...] = (
    # --- claim
    Variant(
        "claim takes what lies on a desk",
        ("E1",),
        (
            Code(f"{TRANSITIONS}claimable", "return False", "return record.status is Status.REVIEW"),
            Code(f"{TRANSITIONS}decide", "case ((Status.PENDING | Status.PROCESSING), Claim()):", "case _, Claim():"),
            Sql("CLAIM", _QUEUE_SQL, f"WHERE t.status = 'REVIEW' OR {_QUEUE_SQL.removeprefix('WHERE')}"),
            Sql(
                "CLAIM",
                "CASE WHEN p.desk IS NULL THEN t.due_at END",
                "CASE WHEN p.desk IS NULL THEN coalesce(t.due_at, p.now) END",
            ),
        ),
        "tests/contract/test_evidence.py -k 'a_day_without or take_turns'",
        model=(
            Code(
                f"{MODEL}due",
                "if row.due_at is None or",
                "if row.status == 'REVIEW':\n        return True\n    if row.due_at is None or",
            ),
            Code(f"{MODEL}_claimed", "due_at=row.due_at if held", "due_at=(row.due_at or now) if held"),
        ),
    ),
    Variant(
        "claim takes what is final",
        ("E2",),
        (
            Code(f"{TRANSITIONS}claimable", "return False", "return record.status.is_final"),
            Code(f"{TRANSITIONS}decide", "case ((Status.PENDING | Status.PROCESSING), Claim()):", "case _, Claim():"),
            Sql("CLAIM", _QUEUE_SQL, f"WHERE t.settled_at IS NOT NULL OR {_QUEUE_SQL.removeprefix('WHERE')}"),
            Sql(
                "CLAIM",
                "CASE WHEN p.desk IS NULL THEN t.due_at END",
                "CASE WHEN p.desk IS NULL THEN coalesce(t.due_at, p.now) END",
            ),
        ),
        f"{_DOMAIN} tests/contract/test_store.py tests/contract/test_dynamodb.py -k 'domain or memory or postgres or dynamodb'",
        model=(
            Code(
                f"{MODEL}due",
                "if row.due_at is None or",
                "if row.settled_at is not None:\n        return True\n    if row.due_at is None or",
            ),
            Code(f"{MODEL}_claimed", "due_at=row.due_at if held", "due_at=(row.due_at or now) if held"),
        ),
    ),
    Variant(
        "claim takes over a live lease",
        ("E3",),
        (
            Code(
                f"{TRANSITIONS}claimable",
                "until is not None and (until + policy.clock_skew < now or until > now + LONGEST_LEASE)",
                "True",
            ),
            Sql("CLAIM", _LEASE_SQL, ""),
        ),
        _CORE,
        model=(
            Code(
                f"{MODEL}due",
                "if not (lease is None or lease < now - wanted.skew or lease > now + LONGEST_LEASE):",
                "if False:",
            ),
        ),
    ),
    Variant(
        "lease ends a moment too early",
        ("E4",),
        (
            Code(f"{TRANSITIONS}claimable", "until + policy.clock_skew < now", "until + policy.clock_skew <= now"),
            Sql("CLAIM", "t.lease_until < clock.now - :skew::interval", "t.lease_until <= clock.now - :skew::interval"),
        ),
        _CORE,
        unseen="in that very millisecond its holder's clock, as far behind as it may be, says that the lease is over: no call of his can begin or end in it, so nothing follows",
        model=(Code(f"{MODEL}due", "lease < now - wanted.skew", "lease <= now - wanted.skew"),),
    ),
    Variant(
        "takeover keeps the old token",
        ("E5",),
        (
            Code(f"{TRANSITIONS}_claim", "token=event.token", "token=record.token or event.token"),
            Sql(
                "CLAIM",
                "token = CASE WHEN p.desk IS NULL THEN :token::text END",
                "token = CASE WHEN p.desk IS NULL THEN coalesce(t.token, :token::text) END",
            ),
        ),
        _CORE,
        model=(Code(f"{MODEL}_claimed", "token=wanted.token if held", "token=(row.token or wanted.token) if held"),),
    ),
    Variant(
        "worker's name is its token",
        ("E6", "S7"),
        (
            Code("workers.serverless.handlers:confirm", "lambda: secrets.token_hex(8)", 'lambda: f"run-{run}"'),
            Code("workers.service.__main__:Service.__init__", "lambda: secrets.token_hex(8)", "lambda: by"),
            Code("simulation.life:Life.new_token", 'f"{self.name}.{self.tokens}"', "self.name"),
        ),
        "tests/serverless/test_handlers.py tests/service/test_source.py -k 'token_of_its_own'",
    ),
    Variant(
        "lease not looked at before a call",
        ("E7",),
        (Code(f"{CONFIRMING}Confirmer._no_call", "lease_until is None or ends > lease_until", "False"),),
        f"{_DOMAIN} {_STREAM}",
    ),
    Variant(
        "claims wait for each other's rows",
        ("E8",),
        (Sql("CLAIM", "FOR UPDATE OF t SKIP LOCKED", "FOR UPDATE OF t"),),
        _RACES,
        model=(Code(f"{MODEL}picked", "row = running.unlocked(seen.id)", "row = running.lock(seen.id)"),),
    ),
    Variant(
        "claims lock nothing",
        ("E9",),
        (Sql("CLAIM", "FOR UPDATE OF t SKIP LOCKED", ""),),
        _RACES,
        model=(Code(f"{MODEL}picked", "row = running.unlocked(seen.id)", "row = running.lock(seen.id)"),),
    ),
    Variant(
        "what an index showed is not looked at again",
        ("E10",),
        (
            Code(
                f"{DYNAMODB}DynamoDbStore._claim",
                "claimable(record, now, self.policy) and",
                "record.status is Status.PROCESSING or",
            ),
            Code(
                f"{TRANSITIONS}_claim",
                "if not claimable(record, now, policy):",
                "if record.status is not Status.PROCESSING and not claimable(record, now, policy):",
            ),
        ),
        _DYNAMO,
    ),
    Variant(
        "own won claim not recognised",
        ("E12", "S9"),
        (
            Code(
                f"{DYNAMODB}DynamoDbStore._won",
                "own = {move.before.id for move in failed if _is_ours(items.get(move.before.id), move.after)}",
                "own: set[str] = set()",
            ),
            Code(
                "workers.database.source:RetryingSource.claim",
                "if held := await self.store.held(token):",
                "if held := []:",
            ),
        ),
        "tests/service/test_source.py tests/contract/test_dynamodb.py -k lost",
    ),
    Variant(
        "newest first",
        ("E13",),
        (
            Code(
                f"{DYNAMODB}DynamoDbStore._page", '"ScanIndexForward": not backwards', '"ScanIndexForward": backwards'
            ),
            Sql("CLAIM", "ORDER BY t.due_at, t.id LIMIT", "ORDER BY t.due_at DESC, t.id LIMIT"),
        ),
        _BOTH + " tests/contract/test_dynamodb.py",
        model=(
            Code(
                f"{MODEL}_claim",
                "due(one, wanted, now), _in_turn, wanted.limit",
                "due(one, wanted, now), lambda one: (-one.due_at.timestamp(), one.id), wanted.limit",
            ),
        ),
    ),
    Variant(
        "cursor dropped after the first page",
        ("E14", "S10"),
        (
            Code(f"{DYNAMODB}_Walk._move_up", "if not keys and self._after[n] is not None:", "if False:"),
            Code(f"{POSTGRES}PostgresStore.claim_next", "if look is Look.SWEEP:", "if False:"),
        ),
        "tests/contract/test_fence.py tests/contract/test_dynamodb.py tests/contract/test_postgres.py -k 'plan_reads or what_a_plan or due or many or hint or strands'",
    ),
    Variant(
        "only what became due lately is looked for",
        ("E15",),
        (
            Code(f"{TRANSITIONS}claimable", "due <= now or", "now - policy.retry_cap <= due <= now or"),
            Sql(
                "CLAIM",
                "AND t.due_at <= clock.now",
                "AND t.due_at <= clock.now AND t.due_at > clock.now - interval '15 minutes'",
            ),
        ),
        _CORE,
        model=(
            Code(
                f"{MODEL}due", "row.due_at > now or", "row.due_at > now or row.due_at < now - timedelta(minutes=15) or"
            ),
        ),
    ),
    # --- effect
    Variant(
        "key for each attempt",
        ("E16",),
        (
            Code("workers.domain.transaction:Transaction.key", "else self.id", 'else f"{self.id}-{self.attempt}"'),
            Code(
                "workers.domain.transaction:Transaction.keys",
                "return (self.id,)",
                'return (f"{self.id}-{self.attempt}",)',
            ),
        ),
        _CORE,
    ),
    Variant(
        "key made at the call and kept nowhere",
        ("E17",),
        (
            Code(
                f"{CONFIRMING}Confirmer._answer",
                "self.gateway.confirm(record, record.key)",
                "self.gateway.confirm(record, self.new_token())",
            ),
        ),
        _CORE,
    ),
    Variant(
        "sending not noted before the call",
        ("E17",),
        (
            Code(f"{TRANSITIONS}_possibly_sent", "record = record._replace(last_sent_at=record.lease_until)", "pass"),
            Sql("CLAIM", "WHEN p.lease_until IS NOT NULL THEN greatest(p.lease_until, p.others_until)", ""),
        ),
        _CORE,
        model=(Code(f"{MODEL}_claimed", "last = greatest(row.lease_until, others)", "last = greatest(last, others)"),),
    ),
    Variant(
        "lease not looked at again between question and send",
        ("E18", "S3"),
        (
            Code(
                f"{CONFIRMING}Confirmer._answer",
                "if trouble := self._no_call(record, now, stop_at) or self._not_sent(record):",
                "if trouble := (not sent_earlier and self._no_call(record, now, stop_at)) or self._not_sent(record):",
            ),
        ),
        f"{_DOMAIN} {_STREAM}",
    ),
    Variant(
        "time-out means failed",
        ("E19",),
        (
            Code(
                f"{CONFIRMING}Confirmer._answer",
                "outcome = admitted(await self.gateway.confirm(record, record.key))",
                "outcome = admitted(await self.gateway.confirm(record, record.key)); outcome = Rejected(outcome.reason) if isinstance(outcome, Unknown) else outcome",
                (_REJECTED,),
            ),
        ),
        _CORE,
    ),
    Variant(
        "time-out means success",
        ("E20",),
        (
            Code(
                f"{CONFIRMING}Confirmer._answer",
                "outcome = admitted(await self.gateway.confirm(record, record.key))",
                "outcome = admitted(await self.gateway.confirm(record, record.key)); outcome = Confirmed('?', record.amount, record.currency) if isinstance(outcome, Unknown) else outcome",
            ),
        ),
        _CORE,
    ),
    Variant(
        "resent past the key window",
        ("E21",),
        (
            Code(
                f"{TRANSITIONS}may_resend",
                "now + policy.call_timeout + policy.lease < first + policy.key_window",
                "True",
            ),
        ),
        _CORE,
    ),
    Variant(
        "key window not looked at again after the wait",
        ("E21",),
        (
            Code(
                f"{CONFIRMING}Confirmer._answer",
                "if sent_earlier and not may_resend(record, now, self.policy):",
                "if False:",
            ),
        ),
        _DOMAIN,
    ),
    Variant(
        "first 'not found' means declined",
        ("E22",),
        (
            Code(
                f"{TRANSITIONS}_answer",
                "case NotFound() if event.asked:",
                "case NotFound() if event.asked and case.settled_down > now: return _moved(record, now, event.by, Status.REJECTED, because(Cause.REFUSED, reason='unknown'), next_attempt_at=None, lease_until=None, settled_at=now)\n        case NotFound() if event.asked:",
            ),
        ),
        _CORE,
    ),
    Variant(
        "grace period of nothing",
        ("E22",),
        (
            Code(
                f"{TRANSITIONS}_Case.settled_down",
                "return (self.record.last_sent_at or self.now) + self.policy.grace",
                "return self.now",
            ),
            Code(f"{TRANSITIONS}may_resend", "record.last_sent_at + policy.grace <= now", "True"),
        ),
        _CORE,
    ),
    Variant(
        "amount not compared",
        ("E23",),
        (Code(f"{TRANSITIONS}_confirmed", "outcome.amount != record.amount or ", ""),),
        _CORE,
    ),
    Variant(
        "amounts as floats",
        ("E24",),
        (
            Code(
                f"{DYNAMODB}_from_value",
                'return int(value["N"])',
                'return float(value["N"]) if name == "amount" else int(value["N"])',
            ),
            Code(f"{POSTGRES}_claimed", "amount=row.amount", "amount=row.amount / 1"),
            Code(f"{EVIDENCE}_confirmed", "if type(amount) is not int:", "if type(amount) not in (int, float):"),
            Code(
                "workers.domain.outcomes:admitted", "type(amount) is not int or", "type(amount) not in (int, float) or"
            ),
        ),
        f"{_READ} tests/domain/test_text.py tests/domain/test_sending.py tests/contract/test_fence.py -k 'odd_confirmation or adapter_answers or no_whole or amounts_are_whole'",
    ),
    Variant(
        "every currency has two decimals",
        ("E25",),
        (
            Code("workers.domain.currency:in_major_units", "exponent = EXPONENTS.get(currency)", "exponent = 2"),
            Code("cli.rows:_as_minor", 'exponent = EXPONENTS.get(currency or "")', "exponent = 2"),
        ),
        "tests/cli/test_rows.py",
        unseen="an amount is whole minor units from the import to the gateway and back: no line of the core knows an exponent",
    ),
    Variant(
        "currency not compared",
        ("E26",),
        (Code(f"{TRANSITIONS}_confirmed", " or outcome.currency != record.currency", ""),),
        _CORE,
    ),
    Variant(
        "refusal tried again for ever",
        ("E27",),
        (
            Code(
                f"{EVIDENCE}_rejected",
                "return Rejected(_clean(reason, transaction, own_keys))",
                "return Retryable(_clean(reason, transaction, own_keys), counts=False)",
            ),
        ),
        _READ,
    ),
    Variant(
        "error of the gateway is final",
        ("E28",),
        (
            Code(
                f"{EVIDENCE}_outcome",
                "if row.outcome is Rejected:",
                'if row.status == 500:\n        return Rejected("error")\n    if row.outcome is Rejected:',
            ),
        ),
        _READ,
    ),
    Variant(
        "error of the gateway means not done",
        ("E28",),
        (_proof(500, "error", "confirm", outcome=Retryable),),
        _READ,
    ),
    Variant(
        "429 eats attempts",
        ("E29",),
        (_proof(429, "rate_limited", "confirm", counts=True),),
        _READ,
    ),
    # --- settle
    Variant(
        "settle by id only",
        ("E30",),
        (
            Sql("SETTLE", "AND t.token = m.token", ""),
            Code(f"{DYNAMODB}_update", "WHERE {FENCE}'", 'WHERE "id" = ?\''),
            Code(f"{DYNAMODB}_update", ', {"N": str(move.before.version)}]', "]"),
        ),
        _BOTH,
        model=(Code(f"{MODEL}_settle", '_behind_the_fence(running, id_, group["token"])', "running.lock(id_)"),),
    ),
    Variant(
        "settle by state only",
        ("E31",),
        (
            Sql("SETTLE", "AND t.token = m.token", "AND t.status = 'PROCESSING'"),
            Code(f"{DYNAMODB}_update", "WHERE {FENCE}'", 'WHERE "id" = ? AND "status" = ?\''),
            Code(f"{DYNAMODB}_update", '{"N": str(move.before.version)}]', '{"S": move.before.status.value}]'),
        ),
        _BOTH,
        model=(
            Code(
                f"{MODEL}_settle",
                '_behind_the_fence(running, id_, group["token"])',
                "(one := running.lock(id_)) and (one if one.status == 'PROCESSING' else None)",
            ),
        ),
    ),
    Variant(
        "settle of what nobody holds",
        ("E32",),
        (
            Sql("SETTLE", "AND t.token = m.token", "AND coalesce(t.token, m.token) = m.token"),
            Code(
                f"{DYNAMODB}DynamoDbStore.settle",
                "errors = await self._write(moves)",
                """errors = await self._write(moves)
    for number, (_, after) in enumerate(moves):
        if errors[number] and (one := await self.find(after.id)) and one.token is None:
            errors[number] = (await self._write([Move(one, after)]))[0]""",
            ),
        ),
        _BOTH,
        model=(
            Code(
                f"{MODEL}_settle",
                '_behind_the_fence(running, id_, group["token"])',
                "(one := running.lock(id_)) and (one if one.token in (None, group['token']) else None)",
            ),
        ),
    ),
    Variant(
        "late result that nobody else claimed is lost",
        ("E33",),
        (
            Sql("SETTLE", "AND t.token = m.token", "AND t.token = m.token AND t.lease_until > m.at"),
            Code(
                f"{DYNAMODB}DynamoDbStore.settle",
                "errors = await self._write(moves)",
                "now = self.clock.now(); moves = [Move(b, a) if b.lease_until is None or b.lease_until > now else Move(b._replace(version=-1), a) for b, a in moves]; errors = await self._write(moves)",
            ),
        ),
        _BOTH,
        model=(
            Code(
                f"{MODEL}_settle",
                "if row is None or id_ in running.writes:",
                "if row is None or id_ in running.writes or (row.lease_until and row.lease_until <= at):",
            ),
        ),
    ),
    Variant(
        "history outside the transaction of its change",
        ("E34", "S1"),
        (
            Sql(
                "SETTLE",
                "at, :by::text, 'PROCESSING', status, attempt, why, cause FROM settled",
                "at, :by::text, 'PROCESSING', status, attempt, why, cause FROM settled WHERE false",
            ),
            Code(
                f"{POSTGRES}PostgresStore._settle",
                "if (await sql.SETTLE.one(self.pool, ended)).number == len(moves):",
                _LATER,
                in_tests=True,
            ),
        ),
        "tests/contract/test_fence.py tests/contract/test_rules.py tests/contract/test_store.py -k 'its_line or postgres'",
        model=(
            Code(
                f"{MODEL}Pool._end",
                "before = self._server.commit(running)",
                "running.lines = [] if fate else running.lines; before = self._server.commit(running)",
            ),
        ),
    ),
    Variant(
        "history without a reason",
        ("E35",),
        (
            Code(f"{TRANSITIONS}_moved", "why=why", 'why=""'),
            Sql("CLAIM", "'REVIEW', attempt, reason, cause", "'REVIEW', attempt, '', cause"),
        ),
        _CORE,
        model=(Code(f"{MODEL}_claim", "why=after.reason", "why=''"),),
    ),
    Variant(
        "line without a cause",
        ("E35",),
        (
            Code(f"{TRANSITIONS}_moved", "cause=cause", "cause=None"),
            Sql("CLAIM", "'REVIEW', attempt, reason, cause", "'REVIEW', attempt, reason, NULL"),
        ),
        _CORE,
        model=(Code(f"{MODEL}_claim", "cause=desk[0]", "cause=None"),),
    ),
    Variant(
        "takeover without its line",
        ("E35",),
        (
            Code(
                f"{TRANSITIONS}_claim",
                "first_sent_at=record.first_sent_at or",
                "**({'history': record.history} if crashed else {}), first_sent_at=record.first_sent_at or",
            ),
            Code(
                f"{TRANSITIONS}_moved",
                "history=with_line(record.history, entry),\n        **changes,",
                "**{'history': with_line(record.history, entry), **changes},",
            ),
            Sql("CLAIM", "FROM changed WHERE taken_over ), to_review", "FROM changed WHERE false ), to_review"),
        ),
        _CORE,
        model=(Code(f"{MODEL}_claim", "if after.taken_over:", "if False:"),),
    ),
    Variant(
        "final state overwritten by a sweep",
        ("E36",),
        (
            Sql(
                "SET_ASIDE",
                "AND t.due_at IS NOT NULL AND (t.due_at <= clock.now OR t.due_at > clock.now + :longest_wait::interval)",
                "AND :longest_wait::interval IS NOT NULL",
            ),
            Sql("DOUBT", "WHERE due_at IS NOT NULL AND status = 'PENDING'", "WHERE true"),
            Code(f"{DYNAMODB}_waits", "return record.status in (Status.PENDING, Status.REVIEW)", "return True"),
        ),
        "tests/contract/test_fence.py tests/contract/test_shadow.py tests/contract/test_restore.py -k 'final or aside or marks or marked'",
        model=(
            Code(
                f"{MODEL}_doubt",
                'waiting = of(lambda row: row.due_at is not None and row.status == "PENDING")',
                "waiting = of(lambda row: True)",
            ),
        ),
    ),
    Variant(
        "amounts change on the way",
        ("E37",),
        (
            Code(
                f"{TRANSITIONS}_release",
                "next_attempt_at=None if due is None else utc(due)",
                "amount=record.amount // 10, next_attempt_at=None if due is None else utc(due)",
            ),
            Sql("SETTLE", "SET status = m.status", "SET amount = t.amount / 10, status = m.status"),
        ),
        _CORE,
        model=(Code(f"{MODEL}_settle", 'status=group["status"],', "status=group['status'], amount=row.amount // 10,"),),
    ),
    # --- lease and crash
    Variant(
        "heartbeat without the token",
        ("E38",),
        (
            Sql("EXTEND", "AND t.token = held.token", "AND t.token IS NOT NULL AND held.token IS NOT NULL"),
            Code(
                f"{DYNAMODB}DynamoDbStore.extend",
                "moves = [Move(record, extended(record, now, self.policy)) for record in transactions]",
                "moves = [Move(record, extended(record, now, self.policy)) for one in transactions if (record := await self.find(one.id)) and record.status is Status.PROCESSING]",
            ),
        ),
        _BOTH,
        model=(
            Code(
                f"{MODEL}_extend",
                "_behind_the_fence(running, id_, token)",
                "(one := running.lock(id_)) and (one if one.token is not None else None)",
            ),
        ),
    ),
    Variant(
        "heartbeat outlives the settle",
        ("E39",),
        (Code(f"{STREAM}Stream._renew", "if (hold := hold_of(record)) in self.held:", "if hold := hold_of(record):"),),
        _STREAM,
    ),
    Variant(
        "takeover by age, ignores the heartbeat",
        ("E40",),
        (
            Code(
                f"{TRANSITIONS}claimable",
                "until = record.lease_until",
                "until = record.lease_until and record.history[-1].at + policy.lease",
            ),
            Sql(
                "CLAIM",
                "t.lease_until < clock.now - :skew::interval",
                "t.claimed_at < clock.now - :lease::interval - :skew::interval",
            ),
        ),
        _CORE,
        model=(
            Code(
                f"{MODEL}due",
                "lease = row.lease_until",
                "lease = row.lease_until and row.claimed_at + getattr(wanted, 'lease', timedelta())",
            ),
        ),
    ),
    Variant(
        "what others hold hides what is behind it",
        ("E41",),
        (
            Code(
                f"{DYNAMODB}DynamoDbStore.claim",
                "while len(held) + len(to_review) < limit and (keys := await due.take(limit)):",
                "if keys := await due.take(limit):",
            ),
            Sql(
                "CLAIM",
                _QUEUE_SQL,
                f"{_QUEUE_SQL} AND t.id IN (SELECT id FROM transactions WHERE due_at <= (SELECT now FROM clock) ORDER BY due_at, id LIMIT :limit::int)",
            ),
        ),
        _BOTH,
        model=(
            Code(
                f"{MODEL}_claim",
                "now = running.time(wanted.now)",
                "now = running.time(wanted.now)\n    front = {one.id for one in sorted((r for r in running.snapshot.values() if r.due_at and r.due_at <= now), key=_in_turn)[: wanted.limit]}",
            ),
            Code(
                f"{MODEL}_claim",
                "lambda one: due(one, wanted, now)",
                "lambda one: one.id in front and due(one, wanted, now)",
            ),
        ),
    ),
    Variant(
        "worker's clock instead of the datastore's",
        ("E42",),
        (
            Code(
                f"{POSTGRES}PostgresStore._now",
                "self.clock.now() if self.clock else None",
                "self.clock.now() if self.clock else datetime.now(UTC) - timedelta(hours=1)",
                in_tests=True,
            ),
        ),
        "tests/contract/test_postgres.py -k 'own_clock or cannot_read or redrives_by or announced'",
        model=(
            Code(
                f"{MODEL}PostgresDatabase.store",
                "HeardStore(pool, policy or life.policy,",
                "HeardStore(pool, policy or life.policy, life,",
            ),
            Code(
                f"{POSTGRES}PostgresStore._skew",
                "return self.policy.clock_skew if self.clock else timedelta()",
                "return timedelta()",
            ),
        ),
    ),
    Variant(
        "lost workers are not counted",
        ("E43",),
        (
            Code(
                f"{TRANSITIONS}_claim",
                "lost = record.lost + crashed",
                "lost = record.lost",
            ),
            Sql(
                "CLAIM",
                "t.lost + CASE WHEN p.desk IS NULL AND p.lease_until IS NOT NULL THEN 1 ELSE 0 END",
                "t.lost",
            ),
        ),
        _CORE,
        model=(Code(f"{MODEL}_claimed", "row.lost + (held and crashed)", "row.lost"),),
    ),
    Variant(
        "one attempt too many",
        ("E44",),
        (
            Code(
                f"{TRANSITIONS}_Case.used_up",
                "self.record.attempt >= self.policy.max_attempts",
                "self.record.attempt > self.policy.max_attempts",
            ),
            Code(
                f"{TRANSITIONS}may_send",
                "record.attempt <= policy.max_attempts",
                "record.attempt <= policy.max_attempts + 1",
            ),
            Sql("CLAIM", "WHEN t.attempt >= :max_attempts::int THEN", "WHEN t.attempt > :max_attempts::int THEN"),
        ),
        _CORE,
        model=(
            Code(f"{MODEL}_desk", "if row.attempt >= wanted.max_attempts:", "if row.attempt > wanted.max_attempts:"),
        ),
    ),
    Variant(
        "a stop releases what others hold",
        ("E45",),
        (
            Sql(
                "SETTLE",
                "AND t.token = m.token",
                "AND (t.token = m.token OR t.status = 'PROCESSING' AND m.cause IN ('stopping', 'time-short', 'lease-short'))",
            ),
            Code(
                f"{DYNAMODB}_update",
                "WHERE {FENCE}'",
                'WHERE "id" = ?\' + (\' AND "status" = ?\' if move.after.history[-1].cause in (Cause.TIME_SHORT, Cause.LEASE_SHORT, Cause.STOPPING) else \' AND "version" = ?\')',
            ),
            Code(
                f"{DYNAMODB}_update",
                '{"N": str(move.before.version)}]',
                '{"S": move.before.status.value} if move.after.history[-1].cause in (Cause.TIME_SHORT, Cause.LEASE_SHORT, Cause.STOPPING) else {"N": str(move.before.version)}]',
            ),
        ),
        _BOTH,
        model=(
            Code(
                f"{MODEL}_settle",
                '_behind_the_fence(running, id_, group["token"])',
                "((one := running.lock(id_)) and (one if one.token == group['token'] or (one.status == 'PROCESSING' and group['cause'] in ('stopping', 'time-short', 'lease-short')) else None))",
            ),
        ),
    ),
    Variant(
        "released as never sent, after the effect",
        ("E46",),
        (
            Code(
                f"{TRANSITIONS}_answer",
                "return _retry(case, event, unknown, counts=True, sent=not event.asked)",
                "return _retry(case, event, unknown, counts=True, sent=False)",
            ),
        ),
        _CORE,
    ),
    Variant(
        "what is exhausted is dropped silently",
        ("E47",),
        (
            Code(
                f"{TRANSITIONS}_review",
                "owner=policy.review_owner,\n        review_by=record.desk_by or case.now + policy.review_within,",
                "owner=None,\n        review_by=None,",
            ),
            Sql("CLAIM", "ELSE :owner::text END", "ELSE left(:owner::text, 0) END"),
        ),
        _CORE,
        model=(
            Code(f"{MODEL}_claimed", "owner=row.owner if held else wanted.owner", "owner=row.owner if held else ''"),
        ),
    ),
    Variant(
        "next turn never comes",
        ("E47",),
        (
            Code(
                f"{TRANSITIONS}_by_deadline",
                "return due if due is None",
                "return None if case.record.tries > 2 else due if due is None",
            ),
        ),
        _CORE,
    ),
    Variant(
        "unexpected error ends the payment",
        ("E48",),
        (
            Code(
                f"{CONFIRMING}Confirmer._answer",
                'Unknown(f"{type(error).__name__} in the gateway adapter")',
                "Rejected(type(error).__name__)",
                (_REJECTED,),
            ),
        ),
        _CORE,
    ),
    # --- operations
    Variant(
        "redrive of what is final",
        ("E49",),
        (
            Code(f"{TRANSITIONS}decide", "case Status.REVIEW, DeskExit():", "case _, DeskExit():"),
            Sql("LEAVE", "AND status = 'REVIEW'", ""),
            Migration("0019", "AND t.status = 'REVIEW' AND w.status <> 'REVIEW'", ""),
        ),
        _CORE,
        model=(
            Code(
                f"{MODEL}_leave",
                '(row.version, row.status) != (wanted.version, "REVIEW")',
                "row.version != wanted.version",
            ),
        ),
    ),
    Variant(
        "redrive takes a new key",
        ("E50",),
        (
            Code(
                "workers.domain.transaction:Transaction.key",
                "else self.id",
                "else self.id + '-again' * any(line.cause is Cause.REDRIVEN for line in self.history)",
            ),
            Code(
                "workers.domain.transaction:Transaction.keys",
                "return (self.id,)",
                "return (self.key,)",
            ),
        ),
        _CORE,
    ),
    Variant(
        "who asks also approves",
        ("E51",),
        (Code(f"{EXITS}_people", "if by.casefold() == approved_by.casefold():", "if False:"),),
        f"{_CORE} tests/domain/test_text.py",
    ),
    Variant(
        "card number in a line",
        ("E52",),
        (
            Code("workers.domain.redaction:redact", "text = cut(text, MOST)", "return text"),
            Code(f"{EVIDENCE}_clean", r'if digits > 4 or re.search(r"\d{3}", reason):', "if False:"),
        ),
        "tests/domain/test_redaction.py tests/gateway/test_payments.py tests/telemetry/test_lines.py",
    ),
    # --- money first
    Variant(
        "another amount leaves no trace of sending",
        ("M1",),
        (
            Code(
                f"{TRANSITIONS}_answer",
                "_review(case, _sent(case, sent=True), event.by, other, gateway_reference=reference)",
                "_review(case, record._replace(first_sent_at=None, last_sent_at=None), event.by, other, gateway_reference=reference)",
            ),
        ),
        _CORE,
    ),
    Variant(
        "redrive forgets that it was sent",
        ("M1b",),
        (
            Code(
                f"{EXITS}_redriven",
                '"first_sent_at": record.first_sent_at if _possibly_sent(record) else now,\n        "last_sent_at": record.last_sent_at or now,',
                '"first_sent_at": None,\n        "last_sent_at": None,',
            ),
        ),
        _CORE,
    ),
    Variant(
        "answer taken as proof of earlier sends",
        ("M1",),
        (
            Code(
                f"{TRANSITIONS}_sent",
                "return record if record.sent_earlier else record._replace(first_sent_at=None)",
                "return record._replace(first_sent_at=None, last_sent_at=None)",
            ),
        ),
        _CORE,
    ),
    Variant(
        "resent without asking",
        ("M1",),
        (
            Code(
                "workers.domain.transaction:Transaction.sent_earlier",
                "return self.last_sent_at is not None or",
                "return False and",
            ),
        ),
        _CORE,
    ),
    Variant(
        "shadow mode puts unasked on a desk",
        ("M2",),
        (
            Code(f"{TRANSITIONS}_possibly_sent", "return doubted(record, now, policy)", "return record"),
            Sql(
                "CLAIM",
                "WHEN t.first_sent_at IS NULL AND t.last_sent_at IS NULL AND NOT :only_ask::boolean AND (least(t.created_at, t.arrived_at) <= :others_until::timestamptz + :apart::interval) IS NOT TRUE THEN CASE WHEN t.attempt",
                "WHEN t.first_sent_at IS NULL AND t.last_sent_at IS NULL THEN CASE WHEN t.attempt",
            ),
        ),
        _SHADOW,
        model=(Code(f"{MODEL}_desk", " and not wanted.only_ask and not _others(row, wanted):", ":"),),
    ),
    Variant(
        "shadow mode sends",
        ("M2",),
        (
            Code(f"{TRANSITIONS}may_send", " and not policy.only_ask", ""),
            Code(f"{TRANSITIONS}_possibly_sent", "if policy.only_ask:", "if False:"),
            Sql(
                "CLAIM",
                "WHEN :only_ask::boolean OR p.desk = 'unreadable' THEN p.now",
                "WHEN p.desk = 'unreadable' THEN p.now",
            ),
            Sql("CLAIM", "CASE WHEN :only_ask::boolean THEN clock.now WHEN", "CASE WHEN"),
        ),
        _SHADOW,
        model=(
            Code(f"{MODEL}_claimed", "if wanted.only_ask:", "if False:"),
            Code(f"{MODEL}_claimed", "if wanted.only_ask or (desk", "if (desk"),
        ),
    ),
    Variant(
        "shadow mode takes unknown for not done",
        ("M2b",),
        (
            Code(
                "workers.gateway.shadow:ShadowGateway.confirm",
                'Unknown("shadow: the gateway does not know it yet")',
                'Retryable("shadow")',
                (_RETRYABLE,),
            ),
            Code(
                f"{TRANSITIONS}_answer",
                "case Unknown(reason):",
                "case Unknown(reason) if case.policy.only_ask: return _retry(case, event, because(Cause.NOT_DONE, reason=reason), counts=False, sent=False)._replace(first_sent_at=None, last_sent_at=None)\n        case Unknown(reason):",
            ),
        ),
        f"{_SHADOW} tests/gateway/test_shadow.py",
        unseen="what shadow mode forgets so, leaving it brings back: all that was there by then is asked about, whatever it says; the variant after this one breaks that",
    ),
    Variant(
        "what others sent before shadow mode was left is believed unsent",
        ("M2c",),
        (
            Code(f"{TRANSITIONS}_others_sent", "if policy.only_ask or policy.others_until is None:", "if True:"),
            Sql(
                "CLAIM",
                "WHEN t.new_keys = 0 AND least(t.created_at, t.arrived_at) <= :others_until::timestamptz + :apart::interval THEN least(coalesce(:others_stopped, :others_until::timestamptz), clock.now) END AS others_until",
                "WHEN :others_stopped::timestamptz < '0001-01-01' THEN clock.now END AS others_until",
            ),
        ),
        _SHADOW,
        model=(Code(f"{MODEL}_others", "return until is not None and", "return False and"),),
    ),
    Variant(
        "unknown goes to a desk when attempts are used up",
        ("M3",),
        (
            Code(f"{TRANSITIONS}_retry", "counts = counts and not event.asked", "pass"),
            Code(
                f"{TRANSITIONS}_retry",
                "if not sent and not _asks_again(case, event) and (case.overdue or (counts and case.used_up)):",
                "if case.overdue or (counts and case.used_up):",
            ),
        ),
        _CORE,
    ),
    Variant(
        "stranger's 404 is evidence",
        ("M4",),
        (
            Code(
                f"{EVIDENCE}read",
                "except _Odd as odd:",
                "except _Odd as odd:\n        if status == 404 and verb == 'ask':\n            return Called(NotFound(), True)",
            ),
        ),
        _READ,
    ),
    Variant(
        "leases are looked up by id",
        ("M5",),
        (Code(f"{STREAM}hold_of", "return record.id, record.token", "return record.id, None"),),
        _STREAM,
    ),
    Variant(
        "canary by its name alone",
        ("M6",),
        (
            Code(
                "workers.domain.transaction:is_canary",
                "and (amount, currency) == (CANARY_AMOUNT, CANARY_CURRENCY)\n        and _CANARY_ID.fullmatch(id_) is not None",
                "",
            ),
            Migration(
                "0006", "RETURN is_canary_id(id) AND amount = 1 AND currency = 'USD'", "RETURN id LIKE 'canary-%'"
            ),
        ),
        "tests/contract/test_canary.py",
    ),
    Variant(
        "history follows what was picked",
        ("M7",),
        (
            Sql("CLAIM", "SELECT t.ctid AS place,", "SELECT t.ctid AS place, t.id, t.version,"),
            Sql(
                "CLAIM",
                "SELECT id, version, token, to_timestamp(at), :by::text, CASE WHEN taken_over THEN 'PROCESSING' ELSE 'PENDING' END, 'REVIEW', attempt, reason, cause FROM changed WHERE due_at IS NULL",
                "SELECT id, version + 1, token, to_timestamp(at), :by::text, CASE WHEN lease_until IS NULL THEN 'PENDING' ELSE 'PROCESSING' END, 'REVIEW', attempt, desk, desk FROM picked WHERE desk IS NOT NULL",
            ),
        ),
        "tests/contract/test_store.py tests/contract/test_evidence.py tests/contract/test_fence.py tests/contract/test_rules.py -k postgres",
        unseen="takes two claims of seconds, across the deadline of a row that its first holder releases unsent meanwhile: tests/contract plays that race, chance hardly does",
        model=(
            Code(
                f"{MODEL}_claim",
                "if row is not running.snapshot.get(row.id):",
                "if row is not running.snapshot.get(row.id):\n            if stale := _desk(row, wanted, now):\n                running.lines.append(_line(transaction_id=row.id, version=row.version + 1, token=row.token, at=now, by=wanted.by, was='PENDING', now='REVIEW', attempt=row.attempt, why=stale[1], cause=stale[0]))",
            ),
        ),
    ),
    Variant(
        "one row stops all others",
        ("M7b",),
        (
            _constant(f"{POSTGRES}POISON", ()),
            _constant(f"{DYNAMODB}_OWN_FAULTS", ()),
        ),
        "tests/contract/test_rules.py",
    ),
    Variant(
        "wait does not grow after what is not counted",
        ("M8",),
        (
            Code(
                f"{TRANSITIONS}_retry",
                "case.policy.backoff(case.record.tries + 1, case.chance)",
                "case.policy.backoff(case.record.attempt, case.chance)",
            ),
        ),
        "tests/contract/test_evidence.py -k 'a_day_without or take_turns'",
    ),
    Variant(
        "history without a bound",
        ("M8b",),
        (Code("workers.domain.history:with_line", "if line.now is Status.CONFIRMED:", "if True:"),),
        _BOUNDS,
    ),
    Variant(
        "an item from elsewhere is believed",
        ("M9",),
        (
            Code(f"{DYNAMODB}parse", "if broken := broken_rule(record):", "if broken := None:"),
            Migration(
                "0001",
                "CREATE DOMAIN minor_units AS bigint CHECK (VALUE BETWEEN 0 AND 1000000000000000)",
                "CREATE DOMAIN minor_units AS bigint",
            ),
            Migration(
                "0001",
                "CREATE DOMAIN currency_code AS text CHECK (VALUE ~ '^[A-Z]{3}$')",
                "CREATE DOMAIN currency_code AS text",
            ),
        ),
        "tests/contract/test_rules.py tests/contract/test_postgres.py -k 'refuses or item'",
    ),
    Variant(
        "an adapter's text goes on as it came",
        ("M10",),
        (
            Code(
                "workers.domain.outcomes:admitted", "clean = text.words(outcome.reason) or", "clean = outcome.reason or"
            ),
        ),
        f"tests/domain/test_text.py {_STORE} -k 'domain or memory or postgres'",
    ),
    Variant(
        "one item that refuses its settle fails its neighbours",
        ("M10b",),
        (
            Code(f"{POSTGRES}PostgresStore.settle", "if len(moves) > 1:", "if False:"),
            Code(
                f"{DYNAMODB}DynamoDbStore._codes",
                "if len(statements) == 1:",
                "if True:\n            return [_INVALID[-1]] * len(statements)\n        if False:",
            ),
        ),
        f"tests/contract/test_rules.py {_STORE} -k 'postgres or dynamodb or invalid or large'",
    ),
    Variant(
        "a receipt is stored masked",
        ("M11",),
        (
            Code(
                f"{TRANSITIONS}_confirmed",
                "gateway_reference=outcome.reference",
                "gateway_reference=redact(outcome.reference)",
            ),
        ),
        f"{_DOMAIN} {_STORE} {_READ} -k 'domain or memory or reference or receipt'",
    ),
    Variant(
        "a key that cannot be read anew is thrown away",
        ("M12",),
        (Code("workers.gateway.api_key:ApiKey._look", "if self._until is None:", "if True:"),),
        "tests/gateway/test_api_key.py tests/service/test_beside.py",
        unseen="the simulated gateway has no key: which one a worker sends is not part of a life",
    ),
    Variant(
        "a lost datastore frees all calls",
        ("M13",),
        (
            Code(
                "workers.gateway.limits:Limiter._keep_asking",
                "self._next = self._now() + trouble * (0.5 + self._chance.random() / 2)",
                "self._instants = [self._now()] * 100; self._new.set(); self._next = self._now() + trouble",
            ),
        ),
        "tests/gateway/test_shares.py -k 'lost or all_workers or stops_no_worker'",
        unseen="the wait for a turn is played, who takes which share is not: tests/gateway/test_shares.py has a simulation of its own for that",
    ),
    Variant(
        "the run lock is not renewed by its batches",
        ("M14",),
        (
            Code(
                "workers.serverless.run_lock:RunLock.keep",
                "if now - max(since, self.renewed.get(run, since)) < lease / 3:",
                "if True:",
            ),
        ),
        "tests/serverless/test_handlers.py -k 'lock or run'",
        unseen="lives are played as if no run lock were held: it saves work, and is not what safety rests on",
    ),
    Variant(
        "a plan reads every shard to its full size",
        ("M15",),
        (Code(f"{DYNAMODB}_Walk.__init__", "even = math.ceil(expected / len(shards))", "even = expected"),),
        "tests/contract/test_dynamodb.py -k 'plan or report or reads'",
        unseen="costs memory and reads, and no promise: what a plan may read is counted in tests/contract",
    ),
    Variant(
        "an import takes a deadline that no datastore takes",
        ("M19",),
        (_constant("cli.rows:YEARS", (1, 9999)),),
        "tests/cli/test_rows.py",
        unseen="what comes in has passed the import by then",
    ),
    Variant(
        "lowered shards strand what is in the others",
        ("M20",),
        (Code(f"{DYNAMODB}DynamoDbStore._shards", "max(self.shards, self.used)", "self.shards"),),
        "tests/contract/test_dynamodb.py tests/contract/test_producers.py -k 'shards'",
    ),
    Variant(
        "a first send that a wrong clock dated is believed",
        ("M21",),
        (
            Code(f"{TRANSITIONS}_believed", "if first is None or first <= now + policy.clock_skew:", "if True:"),
            Sql(
                "CLAIM",
                "WHEN t.first_sent_at > p.now + :skew::interval THEN least(t.created_at, greatest(t.arrived_at, '1970-01-01'), p.now)",
                "",
            ),
        ),
        _CORE,
        model=(Code(f"{MODEL}_claimed", "elif first is not None and first > now + wanted.skew:", "elif False:"),),
    ),
    # --- the desk
    Variant(
        "what a desk only asks about is sent",
        ("D1",),
        (Code(f"{TRANSITIONS}may_send", "record.desk_by is None", "True"),),
        f"{_CORE} tests/contract/test_exits.py",
        unseen="what a desk asks about has no attempt, no time or no key left to be sent by, but for what could not be written: tests/contract plays that",
    ),
    Variant(
        "only the newest key is asked about",
        ("D2",),
        (Code(f"{CONFIRMING}Confirmer._answer", "for key in record.keys:", "for key in record.keys[-1:]:"),),
        f"{_CORE} tests/contract/test_exits.py",
        unseen="by the time of a new key nothing comes of the old one in any life: tests/contract plays one that does",
    ),
    Variant(
        "decided while an effect may still come",
        ("D3",),
        (
            Code(
                f"{EXITS}_nothing_moved",
                "now < (settled := record.last_sent_at + rules.settles_within)",
                "now < (settled := record.last_sent_at)",
            ),
        ),
        f"{_CORE} tests/domain/test_exits.py",
        unseen="people would have to decide within the few minutes in which an effect may show: tests/domain holds the bound to the millisecond",
    ),
    Variant(
        "cancelled without evidence, though possibly sent",
        ("D4",),
        (Code(f"{EXITS}off_desk", "if evidence is None and _possibly_sent(record):", "if False:"),),
        f"{_CORE} tests/domain/test_exits.py",
    ),
    Variant(
        "another amount is accepted, and not written down",
        ("D5",),
        (
            Code(
                f"{EXITS}_done_otherwise",
                '"moved": amount, "moved_currency": currency',
                '"moved": None, "moved_currency": None',
            ),
        ),
        f"{_CORE} tests/contract/test_exits.py",
    ),
    Variant(
        "done is believed with another amount",
        ("D6",),
        (Code(f"{EXITS}_done", "if moved not in ((record.amount, record.currency), (None, None)):", "if False:"),),
        f"{_CORE} tests/domain/test_exits.py",
    ),
    Variant(
        "nothing is decided in shadow mode but refusals",
        ("D7",),
        (Code(f"{EXITS}_nothing_moved", "if rules.only_ask:", "if False:"),),
        f"{_CORE} tests/domain/test_exits.py",
        unseen="the old job of a life leaves alone what has come to its end, as docs/migration.md asks of it: tests/domain plays it",
    ),
    Variant(
        "a redrive of what was never sent is not asked about",
        ("D8",),
        (
            Code(
                f"{EXITS}_redriven", "record.first_sent_at if _possibly_sent(record) else now", "record.first_sent_at"
            ),
            Code(f"{EXITS}_redriven", "record.last_sent_at or now", "record.last_sent_at"),
        ),
        f"{_CORE} tests/domain/test_exits.py",
        unseen="what its record calls never sent has no effect in any life: the question is for a record that is wrong",
    ),
    Variant(
        "the desk's deadline begins anew with a question",
        ("D9",),
        (Code(f"{TRANSITIONS}_review", "record.desk_by or case.now", "case.now"),),
        f"{_CORE} tests/contract/test_exits.py",
    ),
    Variant(
        "an exit writes what nobody can read",
        ("D10",),
        (
            Code(f"{TRANSITIONS}_off_desk", "if broken := broken_rule(after):", "if broken := None:"),
            Code("workers.domain.rules:_effect", "< MOST_MONEY", "<= MAX_AMOUNT"),
        ),
        f"{_CORE} tests/domain/test_exits.py",
    ),
    Variant(
        "a pause of everything stops nobody",
        ("D11",),
        (Code(f"{CONFIRMING}Confirmer._stopped", "pause is not None and pause.scope is Scope.ALL", "False"),),
        _PAUSED,
    ),
    Variant(
        "sending goes on while it is paused",
        ("D12",),
        (Code(f"{CONFIRMING}Confirmer._not_sent", "pause.scope is Scope.SENDING", "pause.scope is None"),),
        _PAUSED,
    ),
    Variant(
        "a batch does not look at the pause",
        ("D11", "D12"),
        (Code("workers.serverless.handlers:confirm", "pause=lambda: pause", "pause=lambda: None"),),
        "tests/serverless/test_handlers.py -k paused",
    ),
    # --- survivors
    Variant(
        "redrive without its fence",
        ("S2",),
        (
            Code(
                f"{DYNAMODB}DynamoDbStore.leave",
                "if not (await self.settle([Move(before, after)]))[0]:",
                "if not (await self.settle([Move(before, after)]))[0] and not (await self.settle([Move(await self.find(id), after)]))[0]:",
            ),
            Sql("LEAVE", "AND version = :version::int AND status = 'REVIEW'", "AND version <> -:version::int"),
        ),
        "tests/contract/test_fence.py tests/contract/test_postgres.py -k 'redrive'",
        model=(Code(f"{MODEL}_leave", '(row.version, row.status) != (wanted.version, "REVIEW")', "False"),),
    ),
    Variant(
        "key window counted from the last send",
        ("S4",),
        (
            Code(
                f"{TRANSITIONS}may_resend",
                "_believed(record, now, policy).first_sent_at",
                "_believed(record, now, policy).last_sent_at",
            ),
        ),
        _CORE,
    ),
    Variant(
        "key window without room for the call",
        ("S5",),
        (
            Code(
                f"{TRANSITIONS}may_resend",
                "now + policy.call_timeout + policy.lease < first + policy.key_window",
                "now < first + policy.key_window",
            ),
        ),
        _CORE,
    ),
    Variant(
        "sent past the deadline",
        ("S6",),
        (Code(f"{CONFIRMING}Confirmer._not_sent", "if now >= record.deadline", "if False"),),
        _LATE,
    ),
    Variant(
        "resent past the deadline",
        ("S6",),
        (
            Code(
                f"{CONFIRMING}Confirmer._not_sent",
                "if now >= record.deadline",
                "if now >= record.deadline and not record.sent_earlier",
            ),
            Code(f"{TRANSITIONS}may_resend", "and now < record.deadline", ""),
        ),
        _LATE,
    ),
    Variant(
        "a stale read decides whose write it was",
        ("S8",),
        (Code(f"{DYNAMODB}DynamoDbStore._won", "consistent=True", "consistent=False"),),
        "tests/contract/test_fence.py tests/contract/test_dynamodb.py -k 'whose_write or lost or foreign'",
        unseen="a read as stale as it takes meets a lost answer in one life of thousands: tests/contract plays that",
    ),
    Variant(
        "callers not waited for at a stop",
        ("S11",),
        (Code(f"{STREAM}Stream.run", "await asyncio.gather(*callers)\n", "for one in callers: one.cancel()\n"),),
        _STREAM,
    ),
)


def fallen(name: str) -> tuple[Variant, int]:
    """A variant, and the seed at which it is known to fall."""
    (variant,) = (one for one in VARIANTS if one.name == name)
    return variant, load()[name].first[0]
