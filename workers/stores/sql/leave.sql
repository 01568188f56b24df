-- One row off a desk, as workers/domain/transitions.py has decided it, behind the fence of its version. The function
-- desk_exits (workers/migrations/) does the same for many, of an approved request alone.
WITH moved AS (
    UPDATE transactions
    SET status = :status::text, attempt = :attempt::int, tries = :tries::int, asked = :asked::int, lost = :lost::int,
        new_keys = :new_keys::int, due_at = :due_at::timestamptz, deadline = :deadline::timestamptz,
        first_sent_at = :first_sent_at::timestamptz, last_sent_at = :last_sent_at::timestamptz,
        away_since = :away_since::timestamptz, desk_by = :desk_by::timestamptz, settled_at = :settled_at::timestamptz,
        gateway_reference = :gateway_reference::text, moved = :moved::bigint, moved_currency = :moved_currency::text,
        reason = :reason::text, owner = NULL, review_by = NULL, lease_until = NULL, token = NULL, version = version + 1
    WHERE id = :id::text AND version = :version::int AND status = 'REVIEW'
    RETURNING id, version
), told AS (
    INSERT INTO history (transaction_id, version, at, by, was, now, attempt, why, cause)
    SELECT id, version, :at::timestamptz, :by::text, 'REVIEW', :status::text, :attempt::int, :why::text, :cause::text
    FROM moved
)
SELECT id FROM moved
