-- When shadow mode was left: of what was there by then, others may have sent until then (transitions.py). Workers of the
-- version before know the table shadow_mode alone: in shadow mode they put its row there, and those that send mark what
-- waits where they find it, and delete it. This version leaves it there for them, and goes by what is kept here.
CREATE TABLE shadow_left (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    is_on    boolean NOT NULL,   -- a worker in shadow mode was here, and none since that sends
    left_at  timestamptz,        -- by the clock of that time
    stopped  timestamptz,        -- the same, or when somebody first saw that left_at lay ahead
    since    timestamptz         -- the earliest moment that the database was ever set back to
);
GRANT SELECT, INSERT, UPDATE ON shadow_left TO confirm_worker;
ALTER TABLE shadow_mode ADD COLUMN since timestamptz;

-- Before, so that it runs for a row that is there already, too.
CREATE FUNCTION note_shadow_entered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shadow_left AS known (is_on, since) VALUES (true, NEW.since)
    ON CONFLICT (only_one) DO UPDATE SET is_on = true, since = least(known.since, excluded.since)
    WHERE NOT known.is_on OR least(known.since, excluded.since) IS DISTINCT FROM known.since;
    RETURN NEW;
END
$$;
CREATE TRIGGER shadow_mode_entered BEFORE INSERT ON shadow_mode FOR EACH ROW EXECUTE FUNCTION note_shadow_entered();

CREATE FUNCTION note_shadow_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE shadow_left SET is_on = false, left_at = clock.now, stopped = clock.now
    FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS now) AS clock
    WHERE is_on;
    RETURN NULL;
END
$$;
CREATE TRIGGER shadow_mode_left AFTER DELETE ON shadow_mode FOR EACH ROW EXECUTE FUNCTION note_shadow_left();

-- The first versions with shadow mode left no note of it. What they wrote of a row that waits still tells.
INSERT INTO shadow_mode (only_one)
SELECT true WHERE EXISTS (SELECT FROM transactions WHERE due_at IS NOT NULL AND reason SIMILAR TO '(unknown: )?shadow: %')
ON CONFLICT DO NOTHING;
INSERT INTO shadow_left (is_on) SELECT true FROM shadow_mode ON CONFLICT DO NOTHING;
