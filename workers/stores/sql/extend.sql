-- Heartbeat: renew the leases whose tokens still stand.
UPDATE transactions t
SET lease_until = date_trunc('milliseconds', coalesce(:now::timestamptz, now())) + :lease::interval
FROM unnest(:ids::text[], :tokens::text[]) AS held (id, token)
WHERE t.id = held.id
  AND t.token = held.token
RETURNING t.id, t.lease_until
