-- The open work: how much, how much of it due, since when; and how many wait on a desk.
SELECT count(*) AS open,
       count(*) FILTER (WHERE due_at <= clock.now) AS due,
       min(due_at) FILTER (WHERE due_at <= clock.now AND due_at > '0001-01-02') AS oldest_due_at,
       (SELECT count(*)
        FROM transactions t
        WHERE t.review_by IS NOT NULL
          AND NOT (is_canary_id(t.id)  -- the index holds the id: the row is looked at where that is a canary's
                   AND (SELECT is_canary(c.id, c.amount, c.currency) FROM transactions c WHERE c.id = t.id))) AS review
FROM transactions, (SELECT coalesce(:now::timestamptz, now()) AS now) AS clock
WHERE due_at IS NOT NULL
