-- How many workers were lost with a transaction in a row, and since when nobody could ask about it past its deadline. Both
-- were known to a process alone, or not told from other tries. With defaults that are the same for all rows no table is
-- rewritten, and workers of the version before go on.
ALTER TABLE transactions
    ADD COLUMN lost integer NOT NULL DEFAULT 0,
    ADD COLUMN away_since timestamptz;
GRANT UPDATE (lost, away_since) ON transactions TO confirm_worker;

-- As before, with both.
CREATE OR REPLACE VIEW payments AS
SELECT t.*
FROM transactions t
WHERE NOT (is_canary_id(t.id)
           AND (SELECT is_canary(c.id, c.amount, c.currency) FROM transactions c WHERE c.id = t.id));

DO $$
BEGIN
    EXECUTE format($make$
        CREATE OR REPLACE FUNCTION redrive_transaction(which text, expected integer, at timestamptz, until timestamptz,
                                                       who text, reason_given text) RETURNS text
        LANGUAGE sql SECURITY DEFINER SET search_path TO %1$I, pg_temp AS $body$
            WITH sent AS (
                UPDATE transactions
                SET status = 'PENDING', attempt = 0, tries = 0, asked = 0, lost = 0, away_since = NULL, reason = NULL, owner = NULL,
                    review_by = NULL, lease_until = NULL, token = NULL,
                    due_at = greatest(least(at, now()), '1970-01-01'),
                    deadline = least(until, now() + interval '366 days'),
                    last_sent_at = CASE WHEN first_sent_at IS NULL THEN last_sent_at
                                        ELSE coalesce(last_sent_at, now()) END,
                    version = least(version, 2147483646) + 1
                WHERE id = which AND version = expected AND status = 'REVIEW'
                  AND at IS NOT NULL AND until IS NOT NULL AND who ~ '\S' AND reason_given ~ '\S'
                RETURNING id, version, due_at
            ), told AS (
                INSERT INTO history (transaction_id, version, at, by, was, now, attempt, why, cause)
                SELECT id, version, due_at, left(who, 200), 'REVIEW', 'PENDING', 0, left(reason_given, 1000), 'redriven'
                FROM sent
                ON CONFLICT DO NOTHING
            )
            SELECT id FROM sent
        $body$
    $make$, current_schema());
END
$$;
