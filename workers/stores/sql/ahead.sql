-- The place so many due rows behind :after, none if there are fewer. The index holds all of it: once vacuum has been by,
-- no row is read.
SELECT due_at, id
FROM transactions
WHERE due_at IS NOT NULL
  AND due_at <= coalesce(:now::timestamptz, now())
  AND (due_at, id) > (:after_due_at::timestamptz, :after_id::text)
ORDER BY due_at, id
OFFSET :number::int - 1
LIMIT 1
