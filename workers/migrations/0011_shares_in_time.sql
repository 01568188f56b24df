-- Shares are of the present: a slice that lies further ahead than the clock's face reaches is given to nobody, and one that
-- got there all the same (a worker's clock was wrong) closes no slice of today. And whoever may call the function must
-- not become its owner by tables of his own that take the names of ours: its search path ends in pg_temp.
CREATE OR REPLACE FUNCTION take_shares(
    at_time timestamptz, slices bigint[], parts bigint[], lights bigint[], hungers bigint[]
)
RETURNS TABLE (slice bigint, taken bigint, light bigint, hungry bigint, at float8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    old rate_limit_shares;
    present bigint := floor(extract(epoch FROM coalesce(at_time, clock_timestamp())) * 8);
BEGIN
    RETURN QUERY SELECT NULL::bigint, 0::bigint, 0::bigint, 0::bigint,
                        extract(epoch FROM coalesce(at_time, clock_timestamp()))::float8;
    IF EXISTS (SELECT FROM unnest(parts || lights || hungers) AS more WHERE more < 0) THEN
        RAISE EXCEPTION 'found a share of less than nothing; what was taken is never given back'
            USING ERRCODE = 'check_violation';
    END IF;
    FOR n IN 1 .. coalesce(array_length(slices, 1), 0) LOOP
        SELECT * INTO old FROM rate_limit_shares WHERE hand = slices[n] % 64 FOR UPDATE;
        -- of a worker that slept (the hand has come round meanwhile), or whose clock is ahead of the database's
        IF (old.slice > slices[n] AND old.slice < present + 64) OR slices[n] >= present + 64 THEN
            old.taken := 1 << 20;
        ELSE
            IF old.slice <> slices[n] THEN
                old.taken := 0; old.light := 0; old.hungry := 0;
            END IF;
            UPDATE rate_limit_shares
            SET slice = slices[n], taken = old.taken + parts[n], light = old.light + lights[n],
                hungry = old.hungry + hungers[n]
            WHERE hand = slices[n] % 64;
        END IF;
        RETURN QUERY SELECT slices[n], old.taken, old.light, old.hungry, NULL::float8;
    END LOOP;
    RETURN QUERY SELECT s.slice, s.taken, s.light, s.hungry, NULL::float8 FROM rate_limit_shares s
    WHERE s.slice > present - 2 AND s.slice < present + 64 AND NOT s.slice = ANY (slices);
END
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION take_shares(timestamptz, bigint[], bigint[], bigint[], bigint[])'
                   ' SET search_path TO %I, pg_temp', current_schema());
END
$$;
