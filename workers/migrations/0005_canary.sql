-- Who sends canaries (workers/canary.py): a producer that may also forget its own, once nobody looks at them any more.
--
-- It logs in itself, by an IAM token (rds_iam) on AWS.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'confirm_canary') THEN
        CREATE ROLE confirm_canary LOGIN;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam') THEN
        GRANT rds_iam TO confirm_canary;
    END IF;
END
$$;

GRANT confirm_producer TO confirm_canary;

-- Nobody may delete a transaction, so this may, and nothing but canaries of a day, a week ago. Their ids say when they
-- were sent, to the minute, so they are found without an index that all others would pay for.
CREATE FUNCTION forget_canaries() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    WITH old AS (
        SELECT to_char(minute AT TIME ZONE 'UTC', '"canary-"YYYYMMDD"T"HH24MI"00Z"') AS id
        FROM generate_series(date_trunc('minute', now()) - interval '8 days', now() - interval '7 days',
                             interval '1 minute') AS minute
    ), told AS (
        DELETE FROM history WHERE transaction_id IN (SELECT id FROM old)
    ), gone AS (
        DELETE FROM transactions WHERE id IN (SELECT id FROM old) RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_canaries() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_canaries() TO confirm_canary;
