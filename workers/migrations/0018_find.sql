-- Finding by account and by time, for people (workers/stores/postgres_find.py). Indexes of ranges of the table (BRIN): no update
-- leaves its page's chain (HOT) for them, and what is added lies at the table's end, in a range that has no summary yet.
--
-- By account with a Bloom filter for each range, for an account lies anywhere. To bring a payment in and settle it costs no
-- more CPU than without, and 1 % more WAL; a B-tree costs a settle two thirds more CPU, and 36 % more WAL (measured). There is
-- none for the gateway's reference, which a settle writes: it would write the filter of its range anew each time. While they
-- are made, writers wait: about a second for each million rows.
CREATE INDEX transactions_account ON transactions
    USING brin (account text_bloom_ops (false_positive_rate = 0.001)) WITH (pages_per_range = 16);
CREATE INDEX transactions_created ON transactions USING brin (created_at) WITH (pages_per_range = 64);
