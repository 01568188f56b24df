-- What is taken of the gateway's rate limit, by slices of time (workers/domain/shares.py): all workers share one limit.
--
-- A row for each slice in turn, as on a clock's face: so none is ever inserted or deleted, and each change is HOT.
CREATE TABLE rate_limit_shares (
    hand   integer PRIMARY KEY,  -- slice modulo 64
    slice  bigint NOT NULL DEFAULT 0,
    taken  bigint NOT NULL DEFAULT 0,  -- parts
    light  bigint NOT NULL DEFAULT 0,
    hungry bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
INSERT INTO rate_limit_shares (hand) SELECT generate_series(0, 63);

-- Adds to what is taken of each slice, and tells what stood before, of these and of all that are not over; in the first
-- row the time alone. Slices come in their order, so two workers lock rows in the same order.
CREATE FUNCTION take_shares(at_time timestamptz, slices bigint[], parts bigint[], lights bigint[], hungers bigint[])
RETURNS TABLE (slice bigint, taken bigint, light bigint, hungry bigint, at float8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    old rate_limit_shares;
BEGIN
    RETURN QUERY SELECT NULL::bigint, 0::bigint, 0::bigint, 0::bigint,
                        extract(epoch FROM coalesce(at_time, clock_timestamp()))::float8;
    IF EXISTS (SELECT FROM unnest(parts || lights || hungers) AS more WHERE more < 0) THEN
        RAISE EXCEPTION 'found a share of less than nothing; what was taken is never given back'
            USING ERRCODE = 'check_violation';
    END IF;
    FOR n IN 1 .. coalesce(array_length(slices, 1), 0) LOOP
        SELECT * INTO old FROM rate_limit_shares WHERE hand = slices[n] % 64 FOR UPDATE;
        IF old.slice > slices[n] THEN  -- of a worker that slept: the hand has come round meanwhile
            old.taken := 1 << 20;
        ELSE
            IF old.slice < slices[n] THEN
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
    WHERE s.slice > extract(epoch FROM coalesce(at_time, clock_timestamp())) * 8 - 2 AND NOT s.slice = ANY (slices);
END
$$;
REVOKE ALL ON FUNCTION take_shares(timestamptz, bigint[], bigint[], bigint[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_shares(timestamptz, bigint[], bigint[], bigint[], bigint[]) TO confirm_worker;
