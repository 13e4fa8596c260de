-- One row per connection attempt, in one partition per UTC day of its start. Lists and nested values
-- are JSON; what queries filter, group or rank by has a column of its own.
--
-- Ids and names compare byte by byte (COLLATE "C"), so that lists have the same order as in SQLite.
CREATE TABLE attempts (
    attempt         text   COLLATE "C" NOT NULL,
    app             text   COLLATE "C" NOT NULL,
    caller          text   COLLATE "C" NOT NULL,
    callee          text   COLLATE "C" NOT NULL,
    caller_nat_type text   COLLATE "C" NOT NULL,
    callee_nat_type text   COLLATE "C" NOT NULL,
    caller_nat      jsonb,
    callee_nat      jsonb,
    policy          text   NOT NULL CHECK (policy IN ('auto', 'direct', 'relay')),
    plan            jsonb  NOT NULL,
    started_unix_ms bigint NOT NULL,
    outcome         text   NOT NULL CHECK (outcome IN ('direct', 'relay', 'failed')),
    method          text,
    connected_ms    bigint CHECK (connected_ms >= 0),
    direct_ms       bigint CHECK (direct_ms >= 0),
    caller_steps    jsonb  NOT NULL,
    callee_steps    jsonb  NOT NULL,
    verdict         text   NOT NULL,
    reason          text,
    -- The attempt comes first: it is looked up by its id alone.
    PRIMARY KEY (attempt, started_unix_ms)
) PARTITION BY RANGE (started_unix_ms);

-- The list (newest first) and the time filter.
CREATE INDEX attempts_by_time ON attempts (started_unix_ms, attempt);

-- What no day's partition takes: times that no clock shows, and days past the retention.
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

-- Adds the partition of a day, counted from 1970-01-01 UTC. Rows of that day which are in the
-- default partition move. Says whether there was anything to add.
CREATE FUNCTION attempts_add_day(day bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name  text   := 'attempts_d' || to_char(date '1970-01-01' + day::int, 'YYYYMMDD');
    first bigint := day * 86400000;
    next  bigint := (day + 1) * 86400000;
BEGIN
    -- One at a time in the whole database ("p2pd"): several instances add the same day.
    PERFORM pg_advisory_xact_lock(1882353764);
    IF to_regclass(quote_ident(name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE attempts INCLUDING ALL)', name);
    LOCK TABLE attempts_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM attempts_default
             WHERE started_unix_ms >= $1 AND started_unix_ms < $2 RETURNING *)
         INSERT INTO %I SELECT * FROM moved', name) USING first, next;
    EXECUTE format(
        'ALTER TABLE attempts ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, first, next);
    RETURN true;
END $$;

-- Removes every attempt that began before a day, partition by partition, and says how many.
CREATE FUNCTION attempts_drop_days_before(day bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    bound     text := 'attempts_d' || to_char(date '1970-01-01' + day::int, 'YYYYMMDD');
    partition regclass;
    here      bigint;
    removed   bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1882353764);
    DELETE FROM attempts_default WHERE started_unix_ms < day * 86400000;
    GET DIAGNOSTICS removed = ROW_COUNT;
    FOR partition IN
        SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'attempts'::regclass AND c.relname ~ '^attempts_d[0-9]{8}$'
          AND c.relname COLLATE "C" < bound COLLATE "C"
    LOOP
        EXECUTE format('SELECT count(*) FROM %s', partition) INTO here;
        EXECUTE format('DROP TABLE %s', partition);
        removed := removed + here;
    END LOOP;
    RETURN removed;
END $$;
