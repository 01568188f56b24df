-- The place so many due rows behind $after, none if there are fewer. The index holds all of it: once vacuum has been by,
-- no row is read.
SELECT due_at, id
FROM transactions
WHERE due_at IS NOT NULL
  AND due_at <= coalesce($1::timestamptz, now())
  AND (due_at, id) > ($2::timestamptz, $3::text)
ORDER BY due_at, id
OFFSET $4::int - 1
LIMIT 1
