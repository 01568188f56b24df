-- What a login of the database may do, held to what its command does.

-- An operator redrives by this function and touches no row himself: no state, no version, no time, no line of history,
-- and no lock on what workers want to claim. It is REVIEW that it opens, and PENDING that it leaves behind; what is known
-- of sending stays as it is. The rules are those of workers/domain/transitions.py, which has decided before it is called.
DO $$
BEGIN
    EXECUTE format($make$
        CREATE FUNCTION redrive_transaction(which text, expected integer, at timestamptz, until timestamptz, who text,
                                            reason_given text) RETURNS text
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
                INSERT INTO history (transaction_id, version, at, by, was, now, attempt, why)
                SELECT id, version, due_at, left(who, 200), 'REVIEW', 'PENDING', 0, left(reason_given, 1000) FROM sent
                ON CONFLICT DO NOTHING
            )
            SELECT id FROM sent
        $body$
    $make$, current_schema());
    -- SECURITY DEFINER with a search path that ends in pg_temp: else a temporary table takes the name of ours, and its
    -- triggers run with the rights of the owner.
    EXECUTE format('ALTER FUNCTION forget_canaries() SET search_path TO %I, pg_temp', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO confirm_canary', current_schema());
END
$$;
REVOKE ALL ON FUNCTION redrive_transaction(text, integer, timestamptz, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION redrive_transaction(text, integer, timestamptz, timestamptz, text, text) TO confirm_operator;
REVOKE UPDATE (status, attempt, due_at, deadline, reason, owner, review_by, version, tries, asked)
    ON transactions FROM confirm_operator;
REVOKE INSERT (transaction_id, version, at, by, was, now, attempt, why) ON history FROM confirm_operator;

-- A member of confirm_producer can become it (SET ROLE), and then brings in what canaries are not.
REVOKE confirm_producer FROM confirm_canary;
GRANT SELECT ON transactions TO confirm_canary;
GRANT INSERT (id, account, amount, currency, created_at, deadline) ON transactions TO confirm_canary;

-- Imports say when a row arrived and is due: about now, or nobody would ever find it due.
CREATE FUNCTION refuse_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE check_violation USING MESSAGE = 'arrived_at and due_at: found ' || NEW.arrived_at || ' and ' || NEW.due_at
        || ', allowed 1970 to a day from now';
END
$$;
CREATE TRIGGER transactions_arrive_now BEFORE INSERT ON transactions
    FOR EACH ROW WHEN (
        least(NEW.arrived_at, NEW.due_at) < '1970-01-01' OR greatest(NEW.arrived_at, NEW.due_at) > now() + interval '1 day'
    ) EXECUTE FUNCTION refuse_time();

-- That a worker in shadow mode was here: the first that sends again marks all that waits once more (PostgresStore).
CREATE TABLE shadow_mode (only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one));
GRANT SELECT, INSERT, DELETE ON shadow_mode TO confirm_worker;
