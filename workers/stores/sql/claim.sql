-- Lease up to $limit due transactions under $token, the longest due first; what may not be tried again goes to a desk.
--
-- One statement for the whole batch. Rows that another worker is about to take are skipped, not waited for. The lease is
-- in no index, so nearly every claim is a HOT update; the join is by ctid, the rows' place, since they are locked and so
-- stay there. The search starts behind $after: what was settled leaves dead entries at the left edge of the index, and
-- with an old snapshot held elsewhere a claim that walks them took 31 ms instead of 1.6 (measured); a sweep from the
-- very left, each second, finds retries and latecomers.
WITH clock AS (
    SELECT now, date_part('epoch', now) AS at
    FROM (SELECT date_trunc('milliseconds', coalesce($1::timestamptz, now())) AS now) AS truncated
), picked AS MATERIALIZED (
    SELECT t.ctid AS place, t.id, t.version, t.status, t.attempt, t.token, t.lease_until,
           t.claimed_at, t.claimed_by, t.taken_over, clock.now, clock.at,
           CASE
               WHEN t.deadline >= '9999-01-01' THEN 'unreadable: deadline ' || t.deadline || ' is out of range'
               WHEN t.attempt >= $7::int THEN t.attempt || ' attempts used up without an end'
               WHEN t.deadline <= clock.now AND t.last_sent_at IS NULL AND t.lease_until IS NULL
                   THEN 'deadline passed before it could be sent'
           END AS desk
    FROM clock, transactions t
    WHERE t.due_at IS NOT NULL
      AND t.due_at <= clock.now
      AND (t.due_at, t.id) > ($10::timestamptz, $11::text)
      AND (t.lease_until IS NULL OR t.lease_until < clock.now - $6::interval)
      AND ($12::text[] IS NULL OR t.id = ANY ($12::text[]))
    ORDER BY t.due_at, t.id
    LIMIT $4::int
    FOR UPDATE OF t SKIP LOCKED
), relieved AS (  -- the claim of a worker that never settled: it would be forgotten with the row's next claim
    INSERT INTO history (transaction_id, version, claimed_at, claimed_by, taken_over, token, claim_attempt)
    SELECT id, version, claimed_at, claimed_by, taken_over, token, attempt
    FROM picked
    WHERE lease_until IS NOT NULL
), desked AS (
    INSERT INTO history (transaction_id, version, token, at, by, was, now, attempt, why)
    SELECT id, version + 1, token, now, $3::text, status, 'REVIEW', attempt, desk
    FROM picked
    WHERE desk IS NOT NULL
), changed AS (
    UPDATE transactions t
    SET status        = CASE WHEN p.desk IS NULL THEN 'PROCESSING' ELSE 'REVIEW' END,
        attempt       = t.attempt + CASE WHEN p.desk IS NULL THEN 1 ELSE 0 END,
        due_at        = CASE WHEN p.desk IS NULL THEN t.due_at END,
        lease_until   = CASE WHEN p.desk IS NULL THEN p.now + $5::interval END,
        token         = CASE WHEN p.desk IS NULL THEN $2::text END,
        claimed_at    = p.now,
        claimed_by    = $3::text,
        taken_over    = p.lease_until IS NOT NULL,
        first_sent_at = CASE WHEN p.desk IS NULL THEN coalesce(t.first_sent_at, p.now) ELSE t.first_sent_at END,
        last_sent_at  = coalesce(p.lease_until, t.last_sent_at),
        reason        = p.desk,
        owner         = CASE WHEN p.desk IS NULL THEN t.owner ELSE $9::text END,
        review_by     = CASE WHEN p.desk IS NULL THEN t.review_by ELSE p.now + $8::interval END,
        version       = t.version + 1
    FROM picked p
    WHERE t.ctid = p.place
    RETURNING t.id, t.account, t.amount, t.currency, t.created_at, t.deadline, t.attempt, t.due_at, t.taken_over,
              nullif(t.first_sent_at, p.now) AS first_sent_at, t.last_sent_at, t.version, t.reason, p.token, p.at
)
-- Times that every row has go as seconds: a driver makes a float in 0.05 us and a datetime in 0.5 (measured). Exact to
-- the microsecond until 2255, to the millisecond for ever. A row without due_at went to a desk.
SELECT id, account, amount, currency, date_part('epoch', created_at) AS created_at,
       date_part('epoch', deadline) AS deadline, attempt, date_part('epoch', due_at) AS due_at, at, taken_over,
       first_sent_at, last_sent_at, version, reason, token
FROM changed
