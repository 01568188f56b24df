-- The operator of the command `confirm`: sees everything, brings transactions in, sends one from REVIEW round again.
--
-- It logs in itself, without a password: on AWS by an IAM token (rds_iam), so that IAM decides who may. A person's own
-- login can be a member: CREATE ROLE ana LOGIN IN ROLE confirm_operator, rds_iam.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'confirm_operator') THEN
        CREATE ROLE confirm_operator LOGIN;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam') THEN
        GRANT rds_iam TO confirm_operator;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO confirm_operator', current_schema());
END
$$;

GRANT SELECT ON transactions, history TO confirm_operator;
GRANT INSERT (id, account, amount, currency, created_at, deadline, arrived_at, due_at) ON transactions TO confirm_operator;

-- Without a right on settled_at and lease_until the table's checks leave an operator the way between REVIEW and PENDING
-- alone: nobody can declare a transaction confirmed, or open a settled one.
ALTER TABLE transactions
    ADD CONSTRAINT settled_is_final CHECK (settled_at IS NULL OR status IN ('CONFIRMED', 'REJECTED'));
GRANT UPDATE (status, attempt, due_at, deadline, reason, owner, review_by, version) ON transactions TO confirm_operator;
GRANT INSERT (transaction_id, version, at, by, was, now, attempt, why) ON history TO confirm_operator;
