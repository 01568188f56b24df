-- Up to :limit rows whose next turn lies further ahead than any that we write (transitions.claimable): a clock was wrong,
-- and they would wait for it. They are due now.
WITH clock AS (
    SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, now())) AS now
), ahead AS MATERIALIZED (
    SELECT t.id
    FROM clock, transactions t
    WHERE t.due_at IS NOT NULL
      AND t.due_at > clock.now + :longest_wait::interval
      AND t.status = 'PENDING'
    ORDER BY t.due_at DESC
    LIMIT :limit::int
    FOR UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE transactions t
    SET due_at = clock.now
    FROM clock, ahead
    WHERE t.id = ahead.id
    RETURNING 1
)
SELECT count(*) AS number FROM changed
