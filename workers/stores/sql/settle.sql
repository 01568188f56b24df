-- Settle or release a batch, each move behind its fence: the token of its claim must still stand.
--
-- One statement, so the history row is there if and only if the change is. The moves come as one JSON document: what
-- neighbours share is said once, ids and references one by one. Arrays as parameters cost a worker 2.6 us a
-- transaction, since its driver looks at each element twice, the document 0.5 (measured).
WITH moves AS (
    SELECT m.id, m.reference, g.token, g.status, g.at, g.why, g.cause, g.due_at, g.reason, g.review_by,
           g.uncounted, g.unsent, g.sent, g.tried, g.asked, g.lost, g.away_since
    FROM json_to_recordset(:moves::json) AS g (
             ids text[], refs text[], token text, status text, at timestamptz, why text, cause text,
             due_at timestamptz, reason text, review_by timestamptz, uncounted boolean, unsent boolean, sent boolean, tried integer,
             asked integer, lost integer, away_since timestamptz
         ),
         unnest(g.ids, g.refs) AS m (id, reference)
), settled AS (
    UPDATE transactions t
    SET status = m.status,
        attempt = CASE WHEN m.uncounted THEN t.attempt - 1 ELSE t.attempt END,
        due_at = m.due_at,
        lease_until = NULL,
        token = NULL,
        first_sent_at = CASE WHEN m.unsent THEN NULL ELSE t.first_sent_at END,
        last_sent_at = CASE WHEN m.sent THEN m.at ELSE t.last_sent_at END,
        tries = t.tries + m.tried,
        asked = t.asked + m.asked,
        lost = m.lost,
        away_since = m.away_since,
        settled_at = CASE WHEN m.status IN ('CONFIRMED', 'REJECTED') THEN m.at END,
        gateway_reference = m.reference,
        reason = m.reason,
        owner = CASE WHEN m.review_by IS NOT NULL THEN :owner::text END,
        review_by = m.review_by,
        desk_by = CASE WHEN m.status = 'PENDING' THEN t.desk_by END,
        version = t.version + 1
    FROM moves m
    WHERE t.id = m.id
      AND t.token = m.token
    RETURNING t.id, t.version, t.claimed_at, t.claimed_by, t.taken_over, t.attempt,
              m.token, m.at, m.status, m.why, m.cause, m.uncounted
), told AS (
    INSERT INTO history (transaction_id, version, claimed_at, claimed_by, taken_over, token, claim_attempt, at, by, was,
                         now, attempt, why, cause)
    SELECT id, version, claimed_at, claimed_by, taken_over, token,
           CASE WHEN uncounted THEN attempt + 1 ELSE attempt END,
           at, :by::text, 'PROCESSING', status, attempt, why, cause
    FROM settled
)
SELECT count(*) AS number FROM settled
