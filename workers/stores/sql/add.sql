-- Insert what is new; never overwrite. A producer's own INSERT may leave out all but the first four columns.
INSERT INTO transactions (id, account, amount, currency, created_at, deadline, arrived_at, due_at)
SELECT id, account, amount, currency, created_at, deadline, clock.now, clock.now
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::timestamptz[])
         AS added (id, account, amount, currency, created_at, deadline),
     (SELECT date_trunc('milliseconds', coalesce($1::timestamptz, now())) AS now) AS clock
ON CONFLICT (id) DO NOTHING
RETURNING id
