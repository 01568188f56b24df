-- Up to :limit rows (of :ids, where given) whose next turn lies further ahead than any that we write (transitions.claimable): a clock was wrong,
-- and they would wait for it. They are due now (transitions.recalled). Those that somebody holds too: their holder's fence is
-- the token, which stays.
WITH clock AS (
    SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, now())) AS now
), ahead AS MATERIALIZED (
    SELECT t.id
    FROM clock, transactions t
    WHERE t.due_at IS NOT NULL
      AND t.due_at > clock.now + :longest_wait::interval
      AND (:ids::text[] IS NULL OR t.id = ANY (:ids::text[]))
    ORDER BY t.due_at DESC
    LIMIT :limit::int
    FOR UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE transactions t
    SET due_at = clock.now,
        first_sent_at = CASE WHEN t.first_sent_at > clock.now + :skew::interval
            THEN least(t.created_at, greatest(t.arrived_at, '1970-01-01'), clock.now) ELSE t.first_sent_at END
    FROM clock, ahead
    WHERE t.id = ahead.id
    RETURNING 1
)
SELECT count(*) AS number FROM changed
