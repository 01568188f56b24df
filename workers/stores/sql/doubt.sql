-- Up to :limit records (of :ids, where given) that wait, for their turn or for a person, and say of themselves that they were never sent:
-- others may have sent them (transitions.doubted), since :restored_to if that is earlier than the record. Each looks
-- along an index of what is open or on a desk, never at the table.
WITH clock AS (
    SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, now())) AS now
), waiting AS MATERIALIZED (
    SELECT id FROM transactions
    WHERE due_at IS NOT NULL AND status = 'PENDING'
      AND (first_sent_at IS NULL OR last_sent_at IS NULL)
      AND (:ids::text[] IS NULL OR id = ANY (:ids::text[]))
    LIMIT :limit::int
    FOR UPDATE SKIP LOCKED
), in_review AS MATERIALIZED (
    SELECT id FROM transactions
    WHERE review_by IS NOT NULL
      AND (first_sent_at IS NULL OR last_sent_at IS NULL)
      AND (:ids::text[] IS NULL OR id = ANY (:ids::text[]))
    LIMIT :limit::int
    FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE transactions t
    SET first_sent_at = least(t.first_sent_at, t.created_at, greatest(t.arrived_at, '1970-01-01'),
                              :restored_to::timestamptz, clock.now),
        last_sent_at = clock.now
    FROM clock, (SELECT id FROM waiting UNION ALL SELECT id FROM in_review LIMIT :limit::int) AS found
    WHERE t.id = found.id
    RETURNING 1
)
SELECT count(*) AS number FROM changed
