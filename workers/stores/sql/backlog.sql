-- The open work: how much, how much of it due, since when; and how many wait on a desk.
SELECT count(*) AS open,
       count(*) FILTER (WHERE due_at <= clock.now) AS due,
       min(due_at) FILTER (WHERE due_at <= clock.now AND due_at > '0001-01-02') AS oldest_due_at,
       (SELECT count(*)
        FROM payments
        WHERE review_by IS NOT NULL) AS review
FROM transactions, (SELECT coalesce(:now::timestamptz, now()) AS now) AS clock
WHERE due_at IS NOT NULL
