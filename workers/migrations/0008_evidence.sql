-- How often a transaction was tried and asked about in vain: the wait before the next try grows with it, and a person is
-- told. With defaults that are the same for all rows no table is rewritten, and workers of the version before go on.
ALTER TABLE transactions
    ADD COLUMN tries integer NOT NULL DEFAULT 0,
    ADD COLUMN asked integer NOT NULL DEFAULT 0;
GRANT UPDATE (tries, asked) ON transactions TO confirm_worker, confirm_operator;

-- Whom to pay fits into every record: as workers/domain/rules.py has it. By a trigger, which looks at what comes in, and
-- at nothing that a claim or a settle changes; its condition is evaluated without a call.
CREATE FUNCTION refuse_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE check_violation USING MESSAGE = 'account: found ' || length(NEW.account) || ' characters, allowed 1 to 1024';
END
$$;
CREATE TRIGGER transactions_account BEFORE INSERT ON transactions
    FOR EACH ROW WHEN (length(NEW.account) NOT BETWEEN 1 AND 1024) EXECUTE FUNCTION refuse_account();
