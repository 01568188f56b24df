"""The SQL bound: the worker's own claim and settle in one loop inside the server, so that nothing else is measured.

No client, no network, one session, a COMMIT after each statement: what a worker could reach if it cost nothing. The
statements are the files that the worker sends (workers/stores/sql/), with variables in place of their parameters and
the document of moves made by the loop itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from workers.stores.named import names, put_in
from workers.stores.statements import CLAIM, SETTLE

_COMMENT = re.compile(r"--[^\n]*")
_CLAIMED = "FROM changed"
_COUNTED = "SELECT count(*) AS number FROM settled"


def with_values(sql: str, values: Mapping[str, str]) -> str:
    """The statement with `values` for its `:names` and without its comments.

    Raises:
        ValueError: it has other parameters.
    """
    if names(sql) != set(values):
        raise ValueError(f"the statement's parameters are {sorted(names(sql))}, the values {sorted(values)}")
    return _COMMENT.sub("", put_in(sql, values.__getitem__)).strip()


def loop(batch: int, limit: int | None = None) -> str:
    """Claim and settle `batch` at a time until nothing is due, or `limit` are settled: one DO statement.

    The claims go by the hint, as a worker's do.

    Raises:
        ValueError: a statement is not of the form that this module knows how to chain.
    """
    claim = with_values(
        CLAIM.sql,
        {
            "now": "NULL",
            "token": "a_token",
            "by": "'bound'",
            "limit": str(batch),
            "lease": "interval '60 s'",
            "skew": "interval '0'",
            "max_attempts": "8",
            "review_within": "interval '1 day'",
            "owner": "'desk'",
            "after_due_at": "hint_due_at",
            "after_id": "hint_id",
            "ids": "NULL",
            "only_ask": "false",
            "restored_to": "NULL",
            "late": "NULL",
            "apart": "interval '0'",
            "others_until": "NULL",
            "others_stopped": "NULL",
        },
    )
    settle = with_values(SETTLE.sql, {"moves": "a_document", "by": "'bound'", "owner": "'desk'"})
    changes, _, columns = claim.rpartition("\nSELECT ")
    if not columns.endswith(_CLAIMED) or not settle.endswith(_COUNTED):
        raise ValueError("claim.sql or settle.sql ends otherwise than benchmarks/sql_bound.py expects")
    gathered = (
        "SELECT array_agg(id), max(due_at), (array_agg(id ORDER BY due_at DESC, id DESC))[1] "
        "INTO all_ids, hint_due_at, hint_id"
    )
    return f"""
    DO $do$
    DECLARE
        a_token text; all_ids text[]; a_document json; counted int; done int := 0;
        hint_due_at timestamptz := '0001-01-01 00:00+00'; hint_id text := '';
    BEGIN
        LOOP
            a_token := md5(clock_timestamp()::text);
            {changes} {gathered} {_CLAIMED} WHERE due_at IS NOT NULL;
            COMMIT;
            EXIT WHEN all_ids IS NULL;
            a_document := json_build_array(json_build_object(
                'ids', all_ids, 'refs', array_fill('ref'::text, ARRAY[cardinality(all_ids)]), 'token', a_token,
                'status', 'CONFIRMED', 'at', clock_timestamp(), 'why', 'gateway confirmed', 'cause', 'confirmed',
                'tried', 0, 'asked', 0
            ));
            {settle.removesuffix(_COUNTED)}SELECT count(*) INTO counted FROM settled;
            COMMIT;
            done := done + counted;
            EXIT WHEN done >= {limit or "done + 1"};
        END LOOP;
    END
    $do$
    """  # noqa: S608 - made of our own files and of numbers
