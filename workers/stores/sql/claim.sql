-- Lease up to :limit due transactions under :token, the longest due first; what may not be tried again goes to a desk.
--
-- One statement for the whole batch. Rows that another worker is about to take are skipped, not waited for. The lease is
-- in no index, so nearly every claim is a HOT update; the join is by ctid, the rows' place, since they are locked and so
-- stay there (10 % faster than by id, measured). A row whose new version was locked while this statement's snapshot
-- still has the old one is not found by its place, and is left alone: so whatever else is written of a row, its history
-- too, follows from what was changed, never from what was picked. The search starts behind :after: what was settled
-- leaves dead entries at the left edge of the index, and with an old snapshot held elsewhere a claim that walks them took
-- 31 ms instead of 1.6 (measured); a sweep from the very left, each second, finds retries and latecomers.
--
-- The rules are those of workers/domain/transitions.py; :only_ask is shadow mode, where others may send until now,
-- and may have since :restored_to (nothing: since the row came about). :others_until is when shadow mode was left
-- (nothing: there was none): of what was there by then (give or take :apart), others may have sent until
-- then, or until :others_stopped where that is known better.
WITH clock AS (
    SELECT now, date_part('epoch', now) AS at
    FROM (SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, now())) AS now) AS truncated
), picked AS MATERIALIZED (
    SELECT t.ctid AS place, t.attempt, t.lost, t.token, t.lease_until,
           t.claimed_at, t.claimed_by, t.taken_over, clock.now, clock.at,
           CASE WHEN :only_ask::boolean THEN clock.now
                WHEN t.new_keys = 0 AND least(t.created_at, t.arrived_at) <= :others_until::timestamptz + :apart::interval
                    THEN least(coalesce(:others_stopped, :others_until::timestamptz), clock.now) END AS others_until,
           CASE  -- why it goes to a desk (workers/domain/causes.py); nothing where it does not
               WHEN t.deadline >= '9999-01-01'
                 OR least(t.due_at, t.lease_until, t.first_sent_at, t.last_sent_at) < '0001-01-02'
                 OR greatest(t.first_sent_at, t.last_sent_at, t.lease_until) >= '9999-01-01' THEN 'unreadable'
               WHEN t.lease_until IS NOT NULL THEN
                   CASE WHEN t.lost + 1 >= 2 * greatest(:max_attempts::int, 2) THEN 'workers-lost' END  -- Policy.most_lost
               WHEN t.first_sent_at IS NULL AND t.last_sent_at IS NULL AND NOT :only_ask::boolean
                 AND (least(t.created_at, t.arrived_at) <= :others_until::timestamptz + :apart::interval) IS NOT TRUE THEN
                   CASE WHEN t.attempt >= :max_attempts::int THEN 'attempts-used-up'
                        WHEN t.deadline <= clock.now THEN 'deadline-passed' END
           END AS desk
    FROM clock, transactions t
    WHERE t.due_at IS NOT NULL
      AND t.due_at <= clock.now
      AND (t.due_at, t.id) > (:after_due_at::timestamptz, :after_id::text)
      AND (t.lease_until IS NULL OR t.lease_until < clock.now - :skew::interval
           OR t.lease_until > clock.now + interval '2 hours')  -- LONGEST_LEASE
      AND (:ids::text[] IS NULL OR t.id = ANY (:ids::text[]))
      AND (:late::interval IS NULL  -- else those alone that no call helps any more (transitions.is_late)
           OR least(t.deadline, t.desk_by) <= clock.now - CASE
               WHEN t.lease_until IS NULL AND t.first_sent_at IS NULL AND t.last_sent_at IS NULL AND NOT :only_ask::boolean
                AND (least(t.created_at, t.arrived_at) <= :others_until::timestamptz + :apart::interval) IS NOT TRUE
                   THEN interval '0' ELSE :late::interval END)
    ORDER BY t.due_at, t.id
    LIMIT :limit::int
    FOR UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE transactions t
    SET status        = CASE WHEN p.desk IS NULL THEN 'PROCESSING' ELSE 'REVIEW' END,
        attempt       = CASE
            WHEN p.desk IS NOT NULL THEN t.attempt
            -- that of a lost worker goes on: nobody knows whether it was made
            ELSE greatest(least(t.attempt, 2 * :max_attempts::int) + (p.lease_until IS NULL)::int, 1) END,
        due_at        = CASE WHEN p.desk IS NULL THEN t.due_at END,
        lease_until   = CASE WHEN p.desk IS NULL THEN p.now + :lease::interval END,
        token         = CASE WHEN p.desk IS NULL THEN :token::text END,
        claimed_at    = p.now,
        claimed_by    = :by::text,
        taken_over    = p.lease_until IS NOT NULL,
        first_sent_at = CASE
            WHEN p.desk = 'unreadable' THEN
                least(t.created_at, greatest(t.arrived_at, '1970-01-01'), :restored_to::timestamptz, p.now)
            WHEN p.others_until IS NOT NULL THEN
                least(t.first_sent_at, t.created_at, greatest(t.arrived_at, '1970-01-01'), :restored_to::timestamptz,
                      p.others_until)
            WHEN t.first_sent_at > p.now + :skew::interval THEN  -- by a clock that was ahead (transitions._believed)
                least(t.created_at, greatest(t.arrived_at, '1970-01-01'), p.now)
            WHEN p.desk IS NULL THEN
                coalesce(t.first_sent_at,
                         CASE WHEN t.last_sent_at IS NULL AND p.lease_until IS NULL THEN p.now ELSE t.created_at END)
            ELSE t.first_sent_at END,
        last_sent_at  = CASE
            WHEN :only_ask::boolean OR p.desk = 'unreadable' THEN p.now
            WHEN p.lease_until IS NOT NULL THEN greatest(p.lease_until, p.others_until)
            WHEN t.first_sent_at IS NOT NULL THEN greatest(coalesce(t.last_sent_at, p.now), p.others_until)
            ELSE greatest(t.last_sent_at, p.others_until) END,
        tries         = t.tries + CASE WHEN p.desk IS NULL AND p.lease_until IS NOT NULL THEN 1 ELSE 0 END,
        lost          = t.lost + CASE WHEN p.desk IS NULL AND p.lease_until IS NOT NULL THEN 1 ELSE 0 END,
        reason        = CASE p.desk  -- in the words of causes.py
            WHEN 'unreadable' THEN
                CASE WHEN t.deadline >= '9999-01-01' THEN 'unreadable: deadline ' || t.deadline || ' is out of range'
                     ELSE 'unreadable: a time of its turns or of its sending is out of range' END
            WHEN 'workers-lost' THEN t.lost + 1 || ' workers took it and none of them came back'
            WHEN 'attempts-used-up' THEN t.attempt || ' attempts used up without an end'
            WHEN 'deadline-passed' THEN 'deadline passed before it could be sent' END,
        owner         = CASE WHEN p.desk IS NULL THEN t.owner ELSE :owner::text END,
        review_by     = CASE WHEN p.desk IS NULL THEN t.review_by ELSE coalesce(t.desk_by, p.now + :review_within::interval) END,
        desk_by       = CASE WHEN p.desk IS NULL THEN t.desk_by END,
        version       = t.version + 1
    FROM picked p
    WHERE t.ctid = p.place
    RETURNING t.id, t.account, t.amount, t.currency, t.created_at, t.deadline, t.attempt, t.due_at, t.taken_over,
              nullif(t.first_sent_at, p.now) AS first_sent_at, t.last_sent_at, t.version, t.tries, t.asked, t.lost, t.away_since,
              CASE WHEN p.desk IS NULL THEN t.desk_by ELSE t.review_by END AS desk_by, t.new_keys, t.reason,
              p.desk AS cause, p.token, p.at,
              CASE WHEN p.lease_until IS NOT NULL
                  THEN ARRAY[p.claimed_at::text, p.claimed_by, p.taken_over::text, p.attempt::text] END AS was
), relieved AS (  -- the claim of a worker that never settled: it would be forgotten with the row's next claim
    INSERT INTO history (transaction_id, version, claimed_at, claimed_by, taken_over, token, claim_attempt)
    SELECT id, version - 1, was[1]::timestamptz, was[2], was[3]::boolean, token, was[4]::int
    FROM changed
    WHERE taken_over
), to_review AS (
    INSERT INTO history (transaction_id, version, token, at, by, was, now, attempt, why, cause)
    SELECT id, version, token, to_timestamp(at), :by::text, CASE WHEN taken_over THEN 'PROCESSING' ELSE 'PENDING' END,
           'REVIEW', attempt, reason, cause
    FROM changed
    WHERE due_at IS NULL
)
-- Times that every row has go as seconds: a driver makes a float in 0.05 us and a datetime in 0.5 (measured). Exact to
-- the microsecond until 2255, to the millisecond for ever. A row without due_at went to a desk.
SELECT id, account, amount, currency, date_part('epoch', created_at) AS created_at,
       date_part('epoch', deadline) AS deadline, attempt, date_part('epoch', due_at) AS due_at, at, taken_over,
       first_sent_at, last_sent_at, version, tries, asked, lost, away_since, desk_by, new_keys, reason,
       cause, token
FROM changed
