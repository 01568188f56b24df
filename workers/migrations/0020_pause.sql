-- A stop by hand, now: one row that everyone who works reads each second. Only the desk function writes it, by a function
-- that changes what stood before and nothing else (workers/domain/pause.py has the rules and the form).
CREATE TABLE pause (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    version  integer NOT NULL,
    document jsonb NOT NULL
);
INSERT INTO pause (version, document) VALUES (0, 'null');
GRANT SELECT ON pause TO confirm_worker, confirm_desk, confirm_operator, confirm_viewer, confirm_reader;

DO $$
BEGIN
    EXECUTE format($make$
        CREATE FUNCTION desk_pause(before integer, wanted jsonb) RETURNS TABLE (version integer)
        LANGUAGE sql SECURITY DEFINER SET search_path TO %1$I, pg_temp AS $body$
            UPDATE pause p SET version = p.version + 1, document = wanted WHERE p.version = before RETURNING p.version
        $body$
    $make$, current_schema());
END
$$;
REVOKE ALL ON FUNCTION desk_pause(integer, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION desk_pause(integer, jsonb) TO confirm_desk;
