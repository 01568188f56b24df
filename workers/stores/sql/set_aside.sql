-- Move one row to a desk that no claim can take: whatever is wrong with it, or with its history, must not be in the way
-- here. So its times are replaced, its version steps over its newest line of history, and a line that is there stays.
--
-- What such a row says of sending is not believed: it is possibly sent, since it came about (transitions.doubted).
WITH clock AS (
    SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, now())) AS now
), picked AS MATERIALIZED (
    SELECT t.id, t.status, t.token, t.version, clock.now,
           (SELECT max(h.version) FROM history h WHERE h.transaction_id = t.id) AS newest
    FROM clock, transactions t
    WHERE t.id = :id::text
      AND t.due_at IS NOT NULL
      AND (t.due_at <= clock.now OR t.due_at > clock.now + :longest_wait::interval)
      AND (t.lease_until IS NULL OR t.lease_until < clock.now - :skew::interval
       OR t.lease_until > clock.now + interval '2 hours')  -- LONGEST_LEASE
    FOR UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE transactions t
    SET status = 'REVIEW', due_at = NULL, lease_until = NULL, token = NULL,
        first_sent_at = least(t.created_at, greatest(t.arrived_at, '1970-01-01'), :restored_to::timestamptz, p.now),
        last_sent_at = p.now, reason = :why::text, owner = :owner::text, review_by = coalesce(t.desk_by, p.now + :review_within::interval), desk_by = NULL,
        attempt = least(greatest(t.attempt, 0), 1000),
        tries = least(greatest(t.tries, 0), 1000),
        lost = least(greatest(t.lost, 0), 1000), away_since = NULL,
        version = least(greatest(p.version::bigint, p.newest) + 1, 2147483647)::int
    FROM picked p
    WHERE t.id = p.id
    RETURNING t.id, t.version, t.attempt, p.token, p.now, p.status
), told AS (
    INSERT INTO history (transaction_id, version, token, at, by, was, now, attempt, why, cause)
    SELECT id, version, token, now, :by::text, status, 'REVIEW', attempt, :why::text, 'claim-failed'
    FROM changed
    ON CONFLICT DO NOTHING
)
SELECT id FROM changed
