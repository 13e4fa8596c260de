-- Times as histograms, one row for each measure and day or hour instead of one for each time: a
-- question over a month reads two thousand rows instead of half a million. And the outcomes of each
-- method by pair of NAT types, from which plans learn.
--
-- Instances of the version before may still be at work on this database. They write attempts, mark
-- what they change in rollups_stale, and know nothing of what is new here; so a mark of theirs is a
-- mark here as well. The marks in rollups_stale are theirs: this version adds to them, so that they
-- read the attempts themselves, and removes none.
CREATE TABLE rollups_due (
    span  text   NOT NULL CHECK (span IN ('hour', 'day')),
    start bigint NOT NULL,
    PRIMARY KEY (span, start)
);

CREATE TABLE rollup_histograms (
    span            text   NOT NULL CHECK (span IN ('hour', 'day')),
    day             bigint NOT NULL,
    hour            bigint NOT NULL,
    app             text   COLLATE "C" NOT NULL,
    -- As in rollup_times.
    measure         text   NOT NULL CHECK (measure IN ('connect', 'direct', 'pair')),
    method          text,
    caller_nat_type text   COLLATE "C",
    callee_nat_type text   COLLATE "C",
    -- Times in order, and how many attempts took each.
    ms              bigint[] NOT NULL,
    attempts        bigint[] NOT NULL
);
CREATE INDEX rollup_histograms_by_time ON rollup_histograms (span, measure, day, hour);

-- How often each method was tried between two NAT types, and how often it carried packets.
CREATE TABLE rollup_methods (
    span            text   NOT NULL CHECK (span IN ('hour', 'day')),
    day             bigint NOT NULL,
    hour            bigint NOT NULL,
    app             text   COLLATE "C" NOT NULL,
    caller_nat_type text   COLLATE "C" NOT NULL,
    callee_nat_type text   COLLATE "C" NOT NULL,
    method          text   NOT NULL,
    tried           bigint NOT NULL,
    worked          bigint NOT NULL
);
CREATE INDEX rollup_methods_by_time ON rollup_methods (span, day, hour);

-- What became of each method in an attempt: it worked where a peer says so or the attempt ended with
-- it, and was tried where it worked or a peer says that it failed.
CREATE FUNCTION methods_of(outcome text, method text, caller_steps jsonb, callee_steps jsonb)
RETURNS TABLE (tried_method text, worked boolean)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT told.method, bool_or(told.worked) FROM (
        SELECT step ->> 'method' AS method, step ->> 'result' = 'ok' AS worked
        FROM jsonb_array_elements(caller_steps || callee_steps) AS step
        WHERE step ->> 'result' IN ('ok', 'failed')
        UNION ALL
        SELECT $2, true WHERE $1 <> 'failed' AND $2 IS NOT NULL) AS told
    GROUP BY told.method
$$;

CREATE FUNCTION rollups_mark_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rollups_due VALUES (NEW.span, NEW.start) ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;

-- Before the insert: a mark that is there already counts again.
CREATE TRIGGER rollups_mark_due BEFORE INSERT ON rollups_stale
    FOR EACH ROW EXECUTE FUNCTION rollups_mark_due();

-- Whatever has attempts is rolled up once more, with what is new.
INSERT INTO rollups_due
    SELECT span, start FROM rollups_stale
    UNION
    SELECT span, CASE span WHEN 'day' THEN day ELSE hour END FROM rollup_counts;
