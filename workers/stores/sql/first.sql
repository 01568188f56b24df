-- The first row that a claim behind :after would take: alone, it is the one that refuses to be claimed.
SELECT t.due_at, t.id
FROM transactions t, (SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, now())) AS now) AS clock
WHERE t.due_at IS NOT NULL
  AND t.due_at <= clock.now
  AND (t.lease_until IS NULL OR t.lease_until < clock.now - :skew::interval
       OR t.lease_until > clock.now + interval '2 hours')  -- LONGEST_LEASE
  AND (t.due_at, t.id) > (:after_due_at::timestamptz, :after_id::text)
  AND (:ids::text[] IS NULL OR t.id = ANY (:ids::text[]))
  AND (:late::interval IS NULL
       OR least(t.deadline, t.desk_by) <= clock.now - CASE
           WHEN t.lease_until IS NULL AND t.first_sent_at IS NULL AND t.last_sent_at IS NULL AND NOT :only_ask::boolean
            AND (least(t.created_at, t.arrived_at) <= :others_until::timestamptz + :apart::interval) IS NOT TRUE
               THEN interval '0' ELSE :late::interval END)
ORDER BY t.due_at, t.id
LIMIT 1
