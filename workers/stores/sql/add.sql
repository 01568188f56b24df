-- Insert what is new; never overwrite. A producer's own INSERT may leave out all but the first four columns.
INSERT INTO transactions (id, account, amount, currency, created_at, deadline, arrived_at, due_at)
SELECT id, account, amount, currency, created_at, deadline, clock.now, clock.now
FROM unnest(:ids::text[], :accounts::text[], :amounts::bigint[], :currencies::text[], :created_at::timestamptz[],
            :deadlines::timestamptz[])
         AS added (id, account, amount, currency, created_at, deadline),
     (SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, now())) AS now) AS clock
ON CONFLICT (id) DO NOTHING
RETURNING id
