-- The open work: how much, how much of it due, since when; and how many wait on a desk.
SELECT count(*) AS open,
       count(*) FILTER (WHERE due_at <= clock.now) AS due,
       min(due_at) FILTER (WHERE due_at <= clock.now) AS oldest_due_at,
       (SELECT count(*) FROM transactions WHERE review_by IS NOT NULL AND id NOT LIKE 'canary-%') AS review
FROM transactions, (SELECT coalesce($1::timestamptz, now()) AS now) AS clock
WHERE due_at IS NOT NULL
