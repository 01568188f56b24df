-- A canary is what the stack's own canary made; the name alone makes none, or any payment could hide behind it.
--
-- Who brings it in is looked at as it comes: ids that begin with canary- are refused to all but confirm_canary, and all
-- but canaries to confirm_canary. What got in nevertheless (an administrator's hand, a version before this one) is told
-- apart by its form, and is a payment like any other.

-- The one meaning of the word in SQL, the same as in workers/domain/transaction.py. Bodies that PostgreSQL puts into the
-- statements that use them, so that they cost what they say.
CREATE FUNCTION is_canary_id(id text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN id LIKE 'canary-%' AND id ~ '^canary-([0-9A-Za-z]{1,20}-)?[0-9]{8}T[0-9]{6}Z$';
CREATE FUNCTION is_canary(id text, amount bigint, currency text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN is_canary_id(id) AND amount = 1 AND currency = 'USD';

CREATE FUNCTION refuse_false_canary() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF current_user <> 'confirm_canary' THEN
        RAISE EXCEPTION 'found the id %; ids that begin with canary- are kept for the stack''s own test payments', NEW.id
            USING ERRCODE = 'check_violation', HINT = 'Give the payment another id.';
    ELSIF NOT is_canary(NEW.id, NEW.amount, NEW.currency) THEN
        RAISE EXCEPTION 'found no canary with the id %; confirm_canary may bring in canaries alone', NEW.id
            USING ERRCODE = 'check_violation', HINT = 'Bring payments in as a member of confirm_producer.';
    END IF;
    RETURN NULL;
END
$$;

-- AFTER, since a row trigger that fires before takes from COPY its way of many rows at a time. Of a row that is refused
-- nothing is left either way. A condition that does not hold costs a row's insert under 1 us of 31 (measured).
CREATE TRIGGER transactions_no_false_canary AFTER INSERT ON transactions
    FOR EACH ROW WHEN (NEW.id LIKE 'canary-%' OR current_user = 'confirm_canary')
    EXECUTE FUNCTION refuse_false_canary();

-- As before, but of those of last week it forgets canaries alone.
CREATE OR REPLACE FUNCTION forget_canaries() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    WITH old AS (
        SELECT to_char(minute AT TIME ZONE 'UTC', '"canary-"YYYYMMDD"T"HH24MI"00Z"') AS id
        FROM generate_series(date_trunc('minute', now()) - interval '8 days', now() - interval '7 days',
                             interval '1 minute') AS minute
    ), gone AS (
        DELETE FROM transactions t USING old WHERE t.id = old.id AND is_canary(t.id, t.amount, t.currency)
        RETURNING t.id
    ), told AS (
        DELETE FROM history WHERE transaction_id IN (SELECT id FROM gone)
    )
    SELECT count(*) FROM gone
$$;
