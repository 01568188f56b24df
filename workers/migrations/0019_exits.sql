-- More ways off a desk: to be asked about and not sent (desk_by), to be sent under a new key (new_keys), done with another
-- amount (moved). With defaults that are the same for all rows no table is rewritten, and workers of the version before go
-- on. No domains: such a column would have the whole table looked through.
ALTER TABLE transactions
    ADD COLUMN desk_by timestamptz,
    ADD COLUMN new_keys integer NOT NULL DEFAULT 0,
    ADD COLUMN moved bigint,
    ADD COLUMN moved_currency text;
GRANT UPDATE (desk_by) ON transactions TO confirm_worker;

-- As before, with all four.
CREATE OR REPLACE VIEW payments AS
SELECT t.*
FROM transactions t
WHERE NOT (is_canary_id(t.id)
           AND (SELECT is_canary(c.id, c.amount, c.currency) FROM transactions c WHERE c.id = t.id));

-- As before, with all four. What a desk function of the version before does not name stays as it is.
DO $$
BEGIN
    EXECUTE format($make$
        CREATE OR REPLACE FUNCTION desk_exits(request text, moves jsonb) RETURNS TABLE (id text)
        LANGUAGE sql SECURITY DEFINER SET search_path TO %1$I, pg_temp AS $body$
            WITH allowed AS (
                SELECT split_part(line, ' ', 1) AS id, split_part(line, ' ', 2)::integer AS version
                FROM desk_requests r, LATERAL string_to_table(r.items, E'\n') AS line
                WHERE r.id = request AND r.document ->> 'state' = 'approved'
            ), wanted AS (
                SELECT m.*
                FROM jsonb_to_recordset(moves) AS m (
                    id text, version integer, status text, attempt integer, tries integer, asked integer,
                    lost integer, away_since timestamptz, desk_by timestamptz, new_keys integer, moved bigint,
                    moved_currency text,
                    due_at timestamptz, deadline timestamptz, first_sent_at timestamptz, last_sent_at timestamptz,
                    settled_at timestamptz, gateway_reference text, reason text, at timestamptz, by text, why text,
                    cause text
                ) JOIN allowed USING (id, version)
            ), moved AS (
                UPDATE transactions t
                SET status = w.status, attempt = w.attempt, tries = w.tries, asked = w.asked, lost = w.lost,
                    away_since = w.away_since, due_at = w.due_at, desk_by = w.desk_by,
                    new_keys = coalesce(w.new_keys, t.new_keys), moved = w.moved, moved_currency = w.moved_currency,
                    deadline = w.deadline, first_sent_at = w.first_sent_at, last_sent_at = w.last_sent_at,
                    settled_at = w.settled_at, gateway_reference = w.gateway_reference, reason = w.reason,
                    owner = NULL, review_by = NULL, lease_until = NULL, token = NULL, version = t.version + 1
                FROM wanted w
                WHERE t.id = w.id AND t.version = w.version AND t.status = 'REVIEW' AND w.status <> 'REVIEW'
                RETURNING t.id, t.version, w.at, w.by, w.status, w.attempt, w.why, w.cause
            ), told AS (
                INSERT INTO history (transaction_id, version, at, by, was, now, attempt, why, cause)
                SELECT m.id, m.version, m.at, m.by, 'REVIEW', m.status, m.attempt, m.why, m.cause FROM moved m
            )
            SELECT m.id FROM moved m
        $body$
    $make$, current_schema());
END
$$;
