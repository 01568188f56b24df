-- Heartbeat: renew the leases whose tokens still stand.
UPDATE transactions t
SET lease_until = date_trunc('milliseconds', coalesce($1::timestamptz, now())) + $2::interval
FROM unnest($3::text[], $4::text[]) AS held (id, token)
WHERE t.id = held.id
  AND t.token = held.token
RETURNING t.id, t.lease_until
