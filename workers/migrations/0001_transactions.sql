-- The table of transactions is the queue itself; what happened to each is in `history`.

-- What a producer brings is checked by domains: those are looked at when a value comes in, while a CHECK of the table
-- would be evaluated again with each claim and each settle (measured: 40 % of a worker's rate).
CREATE DOMAIN transaction_id AS text CHECK (VALUE ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$');
CREATE DOMAIN minor_units AS bigint CHECK (VALUE BETWEEN 0 AND 1000000000000000);
CREATE DOMAIN currency_code AS text CHECK (VALUE ~ '^[A-Z]{3}$');  -- ISO 4217
CREATE DOMAIN moment AS timestamptz CHECK (VALUE > '0001-01-02' AND VALUE < '9999-01-01');  -- also refuses infinity

CREATE TABLE transactions (
    id                transaction_id PRIMARY KEY,
    account           text NOT NULL,
    amount            minor_units NOT NULL,
    currency          currency_code NOT NULL,
    created_at        moment NOT NULL DEFAULT date_trunc('milliseconds', now()),
    deadline          moment NOT NULL DEFAULT date_trunc('milliseconds', now()) + interval '24 hours',
    arrived_at        timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()),
    status            text NOT NULL DEFAULT 'PENDING',
    attempt           integer NOT NULL DEFAULT 0,
    due_at            timestamptz DEFAULT date_trunc('milliseconds', now()),  -- while the work is open, and only then
    lease_until       timestamptz,  -- in no index, so that a claim is a HOT update
    token             text,
    claimed_at        timestamptz,  -- of the last claim, kept for the history
    claimed_by        text,
    taken_over        boolean,
    first_sent_at     timestamptz,
    last_sent_at      timestamptz,
    settled_at        timestamptz,
    gateway_reference text,
    reason            text,
    owner             text,
    review_by         timestamptz,
    version           integer NOT NULL DEFAULT 1,
    CONSTRAINT state_is_whole CHECK (
        CASE status
            WHEN 'PENDING' THEN due_at IS NOT NULL AND lease_until IS NULL
            WHEN 'PROCESSING' THEN due_at IS NOT NULL AND lease_until IS NOT NULL AND token IS NOT NULL
            WHEN 'CONFIRMED' THEN due_at IS NULL AND lease_until IS NULL AND settled_at IS NOT NULL
            WHEN 'REJECTED' THEN due_at IS NULL AND lease_until IS NULL AND settled_at IS NOT NULL
            WHEN 'REVIEW' THEN due_at IS NULL AND reason IS NOT NULL AND owner IS NOT NULL AND review_by IS NOT NULL
            ELSE false
        END
    )
) WITH (
    fillfactor = 60,  -- room for the claim's and the settle's row version on the same page
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_cost_delay = 0
);

-- The queue: open work only. Its predicate names nothing that a claim changes, or claims would not be HOT.
CREATE INDEX transactions_due ON transactions (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX transactions_desk ON transactions (review_by, id) WHERE review_by IS NOT NULL;

-- One row a change; a row of a settled attempt tells of its claim as well, so an attempt costs one row, not two.
-- No foreign key: it would read the transaction once more for each row, and nobody may delete either.
CREATE TABLE history (
    transaction_id text NOT NULL,
    version        integer NOT NULL,  -- of the transaction after the change
    claimed_at     timestamptz,
    claimed_by     text,
    taken_over     boolean,
    token          text,
    claim_attempt  integer,
    at             timestamptz,
    by             text,
    was            text,
    now            text,
    attempt        integer,
    why            text,
    PRIMARY KEY (transaction_id, version)
);

-- Wakes the service for new work; what a lost connection misses, its poll finds.
CREATE FUNCTION announce_transactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('transactions', '');  -- equal ones of one commit arrive as one
    RETURN NULL;
END
$$;
CREATE TRIGGER transactions_arrived AFTER INSERT ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION announce_transactions();
