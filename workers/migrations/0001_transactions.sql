-- The table of transactions is the queue itself; what happened to each is in `history`.

CREATE TABLE transactions (
    id                text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'),
    account           text NOT NULL,
    amount            bigint NOT NULL CHECK (amount BETWEEN 0 AND 1000000000000000),  -- minor units of currency
    currency          text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),                  -- ISO 4217
    created_at        timestamptz(3) NOT NULL DEFAULT now(),
    deadline          timestamptz(3) NOT NULL DEFAULT now() + interval '24 hours' CHECK (deadline > created_at),
    arrived_at        timestamptz(3) NOT NULL DEFAULT now(),
    status            text NOT NULL DEFAULT 'PENDING'
                      CHECK (status IN ('PENDING', 'PROCESSING', 'CONFIRMED', 'REJECTED', 'REVIEW')),
    attempt           integer NOT NULL DEFAULT 0,
    due_at            timestamptz(3) DEFAULT now(),  -- while the work is open, and only then
    lease_until       timestamptz(3),                -- in no index, so that a claim is a HOT update
    token             text,
    claimed_at        timestamptz(3),                -- of the last claim, kept for the history
    claimed_by        text,
    taken_over        boolean,
    first_sent_at     timestamptz(3),
    last_sent_at      timestamptz(3),
    settled_at        timestamptz(3),
    gateway_reference text,
    reason            text,
    owner             text,
    review_by         timestamptz(3),
    version           integer NOT NULL DEFAULT 1,
    CONSTRAINT deadline_is_a_date CHECK (deadline < '9999-01-01'),  -- also refuses infinity
    CHECK ((due_at IS NOT NULL) = (status IN ('PENDING', 'PROCESSING'))),
    CHECK ((lease_until IS NOT NULL) = (status = 'PROCESSING')),
    CHECK ((settled_at IS NOT NULL) = (status IN ('CONFIRMED', 'REJECTED'))),
    CHECK (status <> 'REVIEW' OR (reason IS NOT NULL AND owner IS NOT NULL AND review_by IS NOT NULL))
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
    claimed_at     timestamptz(3),
    claimed_by     text,
    taken_over     boolean,
    token          text,
    claim_attempt  integer,
    at             timestamptz(3),
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
