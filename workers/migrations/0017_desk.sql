-- Four eyes: what takes a transaction out of REVIEW is an approved request, and only the desk function writes either. It
-- comes as confirm_desk through the Data API, with a password that the migrations lay in Secrets Manager. Operators see
-- requests, and write no transaction any more.
CREATE TABLE desk_requests (
    id       text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    ends_at  timestamptz NOT NULL,
    waits    boolean NOT NULL,
    version  integer NOT NULL,
    items    text NOT NULL,
    document jsonb NOT NULL  -- all else, as workers/domain/desk.py writes it
);
CREATE INDEX desk_requests_waiting ON desk_requests (ends_at, id) WHERE waits;

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['confirm_desk', 'confirm_viewer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
    -- who looks and nothing else: logs in by IAM, as the operator does
    ALTER ROLE confirm_viewer LOGIN;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam') THEN
        GRANT rds_iam TO confirm_viewer;
    END IF;
END
$$;
GRANT SELECT ON transactions, history, payments, desk_requests TO confirm_viewer;
GRANT SELECT ON desk_requests TO confirm_operator, confirm_reader;
GRANT SELECT ON transactions, history TO confirm_desk;
GRANT SELECT, INSERT, UPDATE ON desk_requests TO confirm_desk;

-- An exit: from REVIEW alone, with its line of history, as workers/domain/transitions.py has decided it. Which transactions
-- it may be, the request says, which has to be approved: so not even who comes as confirm_desk moves another one by it.
DO $$
BEGIN
    EXECUTE format($make$
        CREATE FUNCTION desk_exits(request text, moves jsonb) RETURNS TABLE (id text)
        LANGUAGE sql SECURITY DEFINER SET search_path TO %1$I, pg_temp AS $body$
            WITH allowed AS (
                SELECT split_part(line, ' ', 1) AS id, split_part(line, ' ', 2)::integer AS version
                FROM desk_requests r, LATERAL string_to_table(r.items, E'\n') AS line
                WHERE r.id = request AND r.document ->> 'state' = 'approved'
            ), wanted AS (
                SELECT m.*
                FROM jsonb_to_recordset(moves) AS m (
                    id text, version integer, status text, attempt integer, tries integer, asked integer,
                    lost integer, away_since timestamptz,
                    due_at timestamptz, deadline timestamptz, first_sent_at timestamptz, last_sent_at timestamptz,
                    settled_at timestamptz, gateway_reference text, reason text, at timestamptz, by text, why text,
                    cause text
                ) JOIN allowed USING (id, version)
            ), moved AS (
                UPDATE transactions t
                SET status = w.status, attempt = w.attempt, tries = w.tries, asked = w.asked, lost = w.lost,
                    away_since = w.away_since, due_at = w.due_at,
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
REVOKE ALL ON FUNCTION desk_exits(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION desk_exits(text, jsonb) TO confirm_desk;

-- What one operator alone could do, with two names that he wrote himself.
REVOKE ALL ON FUNCTION redrive_transaction(text, integer, timestamptz, timestamptz, text, text) FROM confirm_operator;
