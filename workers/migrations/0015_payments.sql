-- Payments are all transactions but canaries: what lies on a desk, is counted and summed. Whoever asks for them asks here,
-- so that nobody says again what a canary is.
--
-- By the id first, which the indexes hold: the row is looked at where that is a canary's.
CREATE VIEW payments AS
SELECT t.*
FROM transactions t
WHERE NOT (is_canary_id(t.id)
           AND (SELECT is_canary(c.id, c.amount, c.currency) FROM transactions c WHERE c.id = t.id));
GRANT SELECT ON payments TO confirm_worker, confirm_reader, confirm_operator;
GRANT SELECT (id, amount, currency, due_at, review_by) ON payments TO confirm_publisher;
