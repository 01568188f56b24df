-- Who may do what. Group roles without login: the program makes login roles that are members (README, AWS).

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['confirm_worker', 'confirm_producer', 'confirm_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO confirm_worker, confirm_producer, confirm_reader', current_schema());
END
$$;

-- The worker changes states and writes history. It can neither make nor delete transactions, nor touch whom and how
-- much they pay, nor rewrite history.
GRANT SELECT ON transactions, history, schema_migrations TO confirm_worker;
GRANT UPDATE (status, attempt, due_at, lease_until, token, claimed_at, claimed_by, taken_over, first_sent_at,
              last_sent_at, settled_at, gateway_reference, reason, owner, review_by, version, deadline)
    ON transactions TO confirm_worker;
GRANT INSERT ON history TO confirm_worker;

-- The producer brings transactions in, and sees what became of them.
GRANT SELECT ON transactions TO confirm_producer;
GRANT INSERT (id, account, amount, currency, created_at, deadline) ON transactions TO confirm_producer;

GRANT SELECT ON transactions, history TO confirm_reader;
