-- The first row that a claim behind $after would take: alone, it is the one that refuses to be claimed.
SELECT t.due_at, t.id
FROM transactions t, (SELECT date_trunc('milliseconds', coalesce($1::timestamptz, now())) AS now) AS clock
WHERE t.due_at IS NOT NULL
  AND t.due_at <= clock.now
  AND (t.lease_until IS NULL OR t.lease_until < clock.now - $2::interval
       OR t.lease_until > clock.now + interval '2 hours')  -- LONGEST_LEASE
  AND (t.due_at, t.id) > ($3::timestamptz, $4::text)
  AND ($5::text[] IS NULL OR t.id = ANY ($5::text[]))
  AND ($6::interval IS NULL
       OR t.deadline <= clock.now - CASE
           WHEN t.lease_until IS NULL AND t.first_sent_at IS NULL AND t.last_sent_at IS NULL AND NOT $7::boolean
            AND (least(t.created_at, t.arrived_at) <= $8::timestamptz + $2::interval) IS NOT TRUE
               THEN interval '0' ELSE $6::interval END)
ORDER BY t.due_at, t.id
LIMIT 1
