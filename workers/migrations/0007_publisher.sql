-- Who counts what is due while no task runs (workers/publisher.py): sees the columns that it counts, and no account, no
-- history and nothing to change.
--
-- The Data API knows no IAM users of the database, so it logs in by a password. The migrations make one where a stack has
-- a publisher, each time another, and lay it in Secrets Manager (workers/migrations/__main__.py); elsewhere nobody can
-- log in as it.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'confirm_publisher') THEN
        CREATE ROLE confirm_publisher NOLOGIN;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO confirm_publisher', current_schema());
END
$$;

GRANT SELECT (id, amount, currency, due_at, review_by) ON transactions TO confirm_publisher;
