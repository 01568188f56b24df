-- Why a state changed, as a term that is counted by (workers/domain/causes.py); `why` is for people alone. Lines of before
-- have none, and workers of the version before this one go on to write such.
--
-- A constraint that holds for new lines alone: to look at all that there are, as for one of a domain, would take hours. It is
-- a cheap one, for each settle pays for it: a term is short and has no spaces.
ALTER TABLE history ADD COLUMN cause text;
ALTER TABLE history ADD CONSTRAINT cause_is_a_term CHECK (length(cause) BETWEEN 1 AND 32 AND position(' ' IN cause) = 0) NOT VALID;

-- As before, with its cause.
DO $$
BEGIN
    EXECUTE format($make$
        CREATE OR REPLACE FUNCTION redrive_transaction(which text, expected integer, at timestamptz, until timestamptz,
                                                       who text, reason_given text) RETURNS text
        LANGUAGE sql SECURITY DEFINER SET search_path TO %1$I, pg_temp AS $body$
            WITH sent AS (
                UPDATE transactions
                SET status = 'PENDING', attempt = 0, tries = 0, asked = 0, reason = NULL, owner = NULL,
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
