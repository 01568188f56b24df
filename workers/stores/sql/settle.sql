-- Settle or release a batch, each move behind its fence: the token of its claim must still stand.
--
-- One statement, so the history row is there if and only if the change is. $1.. are columns of the moves.
WITH moves AS (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
        $8::timestamptz[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::text[],
        $15::text[]
    ) AS m (
        id, token, status, attempt, due_at, first_sent_at, last_sent_at,
        settled_at, gateway_reference, reason, owner, review_by, at, by,
        why
    )
), settled AS (
    UPDATE transactions t
    SET status = m.status,
        attempt = m.attempt,
        due_at = m.due_at,
        lease_until = NULL,
        token = NULL,
        first_sent_at = m.first_sent_at,
        last_sent_at = m.last_sent_at,
        settled_at = m.settled_at,
        gateway_reference = m.gateway_reference,
        reason = m.reason,
        owner = m.owner,
        review_by = m.review_by,
        version = t.version + 1
    FROM moves m
    WHERE t.id = m.id
      AND t.token = m.token
    RETURNING t.id, t.version, t.claimed_at, t.claimed_by, t.taken_over, m.token, m.at, m.by, m.status, m.attempt, m.why
), told AS (
    INSERT INTO history (transaction_id, version, claimed_at, claimed_by, taken_over, token, at, by, was, now, attempt,
                         why)
    SELECT id, version, claimed_at, claimed_by, taken_over, token, at, by, 'PROCESSING', status, attempt, why
    FROM settled
)
SELECT id FROM settled
