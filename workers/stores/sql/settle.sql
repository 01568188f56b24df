-- Settle or release a batch, each move behind its fence: the token of its claim must still stand.
--
-- One statement, so the history row is there if and only if the change is. The arrays are columns of the moves; one in
-- which every value would be NULL is given as NULL, which unnest pads: sending 15 full arrays cost a third of a
-- worker's CPU (measured), six do in the common case.
WITH moves AS (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[],
        $7::timestamptz[], $8::text[], $9::timestamptz[], $10::boolean[], $11::boolean[], $12::boolean[]
    ) AS m (
        id, token, status, at, why, gateway_reference,
        due_at, reason, review_by, given_back, unsent, sent
    )
), settled AS (
    UPDATE transactions t
    SET status = m.status,
        attempt = CASE WHEN m.given_back THEN t.attempt - 1 ELSE t.attempt END,
        due_at = m.due_at,
        lease_until = NULL,
        token = NULL,
        first_sent_at = CASE WHEN m.unsent THEN NULL ELSE t.first_sent_at END,
        last_sent_at = CASE WHEN m.sent THEN m.at ELSE t.last_sent_at END,
        settled_at = CASE WHEN m.status IN ('CONFIRMED', 'REJECTED') THEN m.at END,
        gateway_reference = m.gateway_reference,
        reason = m.reason,
        owner = CASE WHEN m.review_by IS NOT NULL THEN $14::text END,
        review_by = m.review_by,
        version = t.version + 1
    FROM moves m
    WHERE t.id = m.id
      AND t.token = m.token
    RETURNING t.id, t.version, t.claimed_at, t.claimed_by, t.taken_over, t.attempt,
              m.token, m.at, m.status, m.why, m.given_back
), told AS (
    INSERT INTO history (transaction_id, version, claimed_at, claimed_by, taken_over, token, claim_attempt, at, by, was,
                         now, attempt, why)
    SELECT id, version, claimed_at, claimed_by, taken_over, token,
           CASE WHEN given_back THEN attempt + 1 ELSE attempt END,
           at, $13::text, 'PROCESSING', status, attempt, why
    FROM settled
)
SELECT id FROM settled
