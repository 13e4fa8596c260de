-- Counts and times by hour and by day, so that questions over millions of attempts read thousands of
-- rows. Days and hours are counted from 1970-01-01 UTC; a day's row has its first hour.
--
-- An hour or day that is in rollups_stale has attempts that its rollups do not know: questions read
-- its attempts themselves. What is in neither table has no attempts.
CREATE TABLE rollups_stale (
    span  text   NOT NULL CHECK (span IN ('hour', 'day')),
    start bigint NOT NULL,
    PRIMARY KEY (span, start)
);

CREATE TABLE rollup_counts (
    span            text   NOT NULL CHECK (span IN ('hour', 'day')),
    day             bigint NOT NULL,
    hour            bigint NOT NULL,
    app             text   COLLATE "C" NOT NULL,
    caller_nat_type text   COLLATE "C" NOT NULL,
    callee_nat_type text   COLLATE "C" NOT NULL,
    outcome         text   NOT NULL,
    method          text,
    attempts        bigint NOT NULL
);
CREATE INDEX rollup_counts_by_time ON rollup_counts (span, day, hour);

-- How many attempts took how long:
--   connect  to the first usable path, by method (NULL where the attempt counts for none)
--   direct   to a verified direct path
--   pair     the same by pair of NAT types, more coarsely
CREATE TABLE rollup_times (
    span            text   NOT NULL CHECK (span IN ('hour', 'day')),
    day             bigint NOT NULL,
    hour            bigint NOT NULL,
    app             text   COLLATE "C" NOT NULL,
    measure         text   NOT NULL CHECK (measure IN ('connect', 'direct', 'pair')),
    method          text,
    caller_nat_type text   COLLATE "C",
    callee_nat_type text   COLLATE "C",
    ms              bigint NOT NULL,
    attempts        bigint NOT NULL
);
CREATE INDEX rollup_times_by_time ON rollup_times (span, measure, day, hour);

-- A time rounded down to its first binary digits: by less than one part in 2^digits, and not at all
-- below 2^(digits + 1).
CREATE FUNCTION rollup_ms(ms bigint, digits int) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ms - ms % (1::bigint << greatest(0,
        floor(ln(greatest(ms, 1)::float8) / ln(2::float8))::int - digits))
$$;

-- Attempts that are there already are in no rollup yet.
INSERT INTO rollups_stale
    SELECT DISTINCT 'hour', floor(started_unix_ms / 3600000::numeric)::bigint FROM attempts
    UNION
    SELECT DISTINCT 'day', floor(started_unix_ms / 86400000::numeric)::bigint FROM attempts;
