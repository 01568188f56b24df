-- Two workers lock rows of the clock's face in the order of its hands, whatever slices they ask for: in that of the slices
-- one who reached over the top of the face met another there, and each waited for the other. And where the database's
-- clock was set back by more than its face, each hand gives its next slice to nobody: shares that were given by the clock
-- before are used up meanwhile, so no second holds more than the limit.
CREATE OR REPLACE FUNCTION take_shares(
    at_time timestamptz, slices bigint[], parts bigint[], lights bigint[], hungers bigint[]
)
RETURNS TABLE (slice bigint, taken bigint, light bigint, hungry bigint, at float8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    old rate_limit_shares;
    present bigint := floor(extract(epoch FROM coalesce(at_time, clock_timestamp())) * 8);
    n integer;
BEGIN
    RETURN QUERY SELECT NULL::bigint, 0::bigint, 0::bigint, 0::bigint,
                        extract(epoch FROM coalesce(at_time, clock_timestamp()))::float8;
    IF EXISTS (SELECT FROM unnest(parts || lights || hungers) AS more WHERE more < 0) THEN
        RAISE EXCEPTION 'found a share of less than nothing; what was taken is never given back'
            USING ERRCODE = 'check_violation';
    END IF;
    FOR n IN SELECT i FROM generate_subscripts(slices, 1) AS i ORDER BY slices[i] % 64, slices[i] LOOP
        SELECT * INTO old FROM rate_limit_shares WHERE hand = slices[n] % 64 FOR UPDATE;
        -- of a worker that slept (the hand has come round meanwhile), or whose clock is ahead of the database's
        IF (old.slice > slices[n] AND old.slice < present + 64) OR slices[n] >= present + 64 THEN
            old.taken := 1 << 20;
        ELSE
            IF old.slice >= present + 64 THEN  -- the clock was set back
                old.taken := 1 << 20; old.light := 0; old.hungry := 0;
            ELSIF old.slice <> slices[n] THEN
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
