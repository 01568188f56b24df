-- When shadow mode was left: of what was there by then, others may have sent until then (transitions.py). Workers of the
-- version before delete the note of shadow mode once they have marked what waits, so the moment is kept by a trigger.
CREATE TABLE shadow_left (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    left_at  timestamptz NOT NULL,
    since    timestamptz  -- the moment that the database was set back to, where it was
);
GRANT SELECT, INSERT, UPDATE ON shadow_left TO confirm_worker;
ALTER TABLE shadow_mode ADD COLUMN since timestamptz;
GRANT UPDATE (since) ON shadow_mode TO confirm_worker;

CREATE FUNCTION note_shadow_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shadow_left (left_at, since) VALUES (date_trunc('milliseconds', clock_timestamp()), OLD.since)
    ON CONFLICT (only_one) DO UPDATE SET left_at = excluded.left_at, since = excluded.since;
    RETURN NULL;
END
$$;
CREATE TRIGGER shadow_mode_left AFTER DELETE ON shadow_mode FOR EACH ROW EXECUTE FUNCTION note_shadow_left();

-- The first versions with shadow mode left no note of it. What they wrote of a row that waits still tells.
INSERT INTO shadow_mode (only_one)
SELECT true WHERE EXISTS (SELECT FROM transactions WHERE due_at IS NOT NULL AND reason LIKE 'shadow: %')
ON CONFLICT DO NOTHING;
