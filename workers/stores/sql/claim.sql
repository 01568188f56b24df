-- Lease up to $limit due transactions under $token, the longest due first; what may not be tried again goes to a desk.
--
-- One statement for the whole batch. Rows that another worker is about to take are skipped, not waited for. The lease is
-- in no index, so nearly every claim is a HOT update; the join is by ctid, the rows' place, since they are locked and so
-- stay there (10 % faster than by id, measured). A row whose new version was locked while this statement's snapshot
-- still has the old one is not found by its place, and is left alone: so whatever else is written of a row, its history
-- too, follows from what was changed, never from what was picked. The search starts behind $after: what was settled
-- leaves dead entries at the left edge of the index, and with an old snapshot held elsewhere a claim that walks them took
-- 31 ms instead of 1.6 (measured); a sweep from the very left, each second, finds retries and latecomers.
--
-- The rules are those of workers/domain/transitions.py; $13 is shadow mode, where others may send until now,
-- and may have since $14 (nothing: since the row came about). $16 is when shadow mode was left (nothing: there was none):
-- of what was there by then, others may have sent until then.
WITH clock AS (
    SELECT now, date_part('epoch', now) AS at
    FROM (SELECT date_trunc('milliseconds', coalesce($1::timestamptz, now())) AS now) AS truncated
), picked AS MATERIALIZED (
    SELECT t.ctid AS place, t.attempt, t.token, t.lease_until,
           t.claimed_at, t.claimed_by, t.taken_over, clock.now, clock.at,
           CASE WHEN $13::boolean THEN clock.now
                WHEN least(t.created_at, t.arrived_at) <= $16::timestamptz + $6::interval
                    THEN least($16::timestamptz, clock.now) END AS others_until,
           CASE
               WHEN t.deadline >= '9999-01-01' THEN 'unreadable: deadline ' || t.deadline || ' is out of range'
               WHEN least(t.due_at, t.lease_until, t.first_sent_at, t.last_sent_at) < '0001-01-02'
                 OR greatest(t.first_sent_at, t.last_sent_at) >= '9999-01-01'
                   THEN 'unreadable: a time of its turns or of its sending is out of range'
               WHEN t.lease_until IS NOT NULL THEN
                   CASE WHEN t.attempt >= 2 * $7::int
                       THEN t.attempt || ' workers took it and none of them came back' END
               WHEN t.first_sent_at IS NULL AND t.last_sent_at IS NULL AND NOT $13::boolean
                 AND (least(t.created_at, t.arrived_at) <= $16::timestamptz + $6::interval) IS NOT TRUE THEN
                   CASE WHEN t.attempt >= $7::int THEN t.attempt || ' attempts used up without an end'
                        WHEN t.deadline <= clock.now THEN 'deadline passed before it could be sent' END
           END AS desk
    FROM clock, transactions t
    WHERE t.due_at IS NOT NULL
      AND t.due_at <= clock.now
      AND (t.due_at, t.id) > ($10::timestamptz, $11::text)
      AND (t.lease_until IS NULL OR t.lease_until < clock.now - $6::interval
           OR t.lease_until > clock.now + interval '2 hours')  -- LONGEST_LEASE
      AND ($12::text[] IS NULL OR t.id = ANY ($12::text[]))
      AND ($15::interval IS NULL  -- else those alone that no call helps any more (transitions.is_late)
           OR t.deadline <= clock.now - CASE
               WHEN t.lease_until IS NULL AND t.first_sent_at IS NULL AND t.last_sent_at IS NULL AND NOT $13::boolean
                AND (least(t.created_at, t.arrived_at) <= $16::timestamptz + $6::interval) IS NOT TRUE
                   THEN interval '0' ELSE $15::interval END)
    ORDER BY t.due_at, t.id
    LIMIT $4::int
    FOR UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE transactions t
    SET status        = CASE WHEN p.desk IS NULL THEN 'PROCESSING' ELSE 'REVIEW' END,
        attempt       = CASE WHEN p.desk IS NULL THEN least(t.attempt, 2 * $7::int) + 1 ELSE t.attempt END,
        due_at        = CASE WHEN p.desk IS NULL THEN t.due_at END,
        lease_until   = CASE WHEN p.desk IS NULL THEN p.now + $5::interval END,
        token         = CASE WHEN p.desk IS NULL THEN $2::text END,
        claimed_at    = p.now,
        claimed_by    = $3::text,
        taken_over    = p.lease_until IS NOT NULL,
        first_sent_at = CASE
            WHEN p.desk LIKE 'unreadable:%' THEN t.created_at  -- by the words above
            WHEN p.others_until IS NOT NULL THEN
                least(t.first_sent_at, t.created_at, greatest(t.arrived_at, '1970-01-01'), $14::timestamptz,
                      p.others_until)
            WHEN p.desk IS NULL THEN coalesce(t.first_sent_at, p.now)
            ELSE t.first_sent_at END,
        last_sent_at  = CASE
            WHEN $13::boolean OR p.desk LIKE 'unreadable:%' THEN p.now
            WHEN p.lease_until IS NOT NULL THEN greatest(p.lease_until, p.others_until)
            WHEN t.first_sent_at IS NOT NULL THEN greatest(coalesce(t.last_sent_at, p.now), p.others_until)
            ELSE greatest(t.last_sent_at, p.others_until) END,
        tries         = t.tries + CASE WHEN p.desk IS NULL AND p.lease_until IS NOT NULL THEN 1 ELSE 0 END,
        reason        = p.desk,
        owner         = CASE WHEN p.desk IS NULL THEN t.owner ELSE $9::text END,
        review_by     = CASE WHEN p.desk IS NULL THEN t.review_by ELSE p.now + $8::interval END,
        version       = t.version + 1
    FROM picked p
    WHERE t.ctid = p.place
    RETURNING t.id, t.account, t.amount, t.currency, t.created_at, t.deadline, t.attempt, t.due_at, t.taken_over,
              nullif(t.first_sent_at, p.now) AS first_sent_at, t.last_sent_at, t.version, t.tries, t.asked, t.reason,
              p.token, p.at,
              CASE WHEN p.lease_until IS NOT NULL
                  THEN ARRAY[p.claimed_at::text, p.claimed_by, p.taken_over::text, p.attempt::text] END AS was
), relieved AS (  -- the claim of a worker that never settled: it would be forgotten with the row's next claim
    INSERT INTO history (transaction_id, version, claimed_at, claimed_by, taken_over, token, claim_attempt)
    SELECT id, version - 1, was[1]::timestamptz, was[2], was[3]::boolean, token, was[4]::int
    FROM changed
    WHERE taken_over
), desked AS (
    INSERT INTO history (transaction_id, version, token, at, by, was, now, attempt, why)
    SELECT id, version, token, to_timestamp(at), $3::text, CASE WHEN taken_over THEN 'PROCESSING' ELSE 'PENDING' END,
           'REVIEW', attempt, reason
    FROM changed
    WHERE due_at IS NULL
)
-- Times that every row has go as seconds: a driver makes a float in 0.05 us and a datetime in 0.5 (measured). Exact to
-- the microsecond until 2255, to the millisecond for ever. A row without due_at went to a desk.
SELECT id, account, amount, currency, date_part('epoch', created_at) AS created_at,
       date_part('epoch', deadline) AS deadline, attempt, date_part('epoch', due_at) AS due_at, at, taken_over,
       first_sent_at, last_sent_at, version, tries, asked, reason, token
FROM changed
