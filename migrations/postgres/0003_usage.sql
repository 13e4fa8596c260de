-- Sessions at signaling instances and allocations at relays, each in one partition per UTC day: of
-- the opening, and of the end. Their ids are given where they happen, so that storing one twice is
-- the same as once.
CREATE TABLE sessions (
    id             text    COLLATE "C" NOT NULL,
    session        text    COLLATE "C" NOT NULL,
    app            text    COLLATE "C" NOT NULL,
    peer           text    COLLATE "C" NOT NULL,
    instance       text    COLLATE "C",
    network        text,
    resumed        boolean NOT NULL,
    opened_unix_ms bigint  NOT NULL,
    closed_unix_ms bigint,
    close_code     integer,
    PRIMARY KEY (id, opened_unix_ms)
) PARTITION BY RANGE (opened_unix_ms);
CREATE INDEX sessions_by_time ON sessions (opened_unix_ms);
CREATE TABLE sessions_default PARTITION OF sessions DEFAULT;

CREATE TABLE relay_usage (
    id                text   COLLATE "C" NOT NULL,
    region            text   COLLATE "C",
    -- The user of the credential, and the app that it names.
    username          text   COLLATE "C" NOT NULL,
    app               text   COLLATE "C",
    ended             text   NOT NULL,
    ended_unix_ms     bigint NOT NULL,
    lived_ms          bigint NOT NULL CHECK (lived_ms >= 0),
    to_peer_packets   bigint NOT NULL CHECK (to_peer_packets >= 0),
    to_peer_bytes     bigint NOT NULL CHECK (to_peer_bytes >= 0),
    to_client_packets bigint NOT NULL CHECK (to_client_packets >= 0),
    to_client_bytes   bigint NOT NULL CHECK (to_client_bytes >= 0),
    PRIMARY KEY (id, ended_unix_ms)
) PARTITION BY RANGE (ended_unix_ms);
CREATE INDEX relay_usage_by_time ON relay_usage (ended_unix_ms);
CREATE TABLE relay_usage_default PARTITION OF relay_usage DEFAULT;

-- Both by hour, counted from 1970-01-01 UTC. An hour that is in usage_stale has rows that its
-- aggregate does not know: questions read the rows themselves.
CREATE TABLE usage_stale (
    kind text   NOT NULL CHECK (kind IN ('sessions', 'relay_usage')),
    hour bigint NOT NULL,
    PRIMARY KEY (kind, hour)
);

CREATE TABLE session_hours (
    hour         bigint NOT NULL,
    app          text   COLLATE "C" NOT NULL,
    opened       bigint NOT NULL,
    resumed      bigint NOT NULL,
    closed       bigint NOT NULL,
    connected_ms numeric NOT NULL,
    PRIMARY KEY (hour, app)
);

CREATE TABLE relay_hours (
    hour              bigint NOT NULL,
    app               text   COLLATE "C",
    region            text   COLLATE "C",
    allocations       bigint NOT NULL,
    lived_ms          numeric NOT NULL,
    to_peer_packets   numeric NOT NULL,
    to_peer_bytes     numeric NOT NULL,
    to_client_packets numeric NOT NULL,
    to_client_bytes   numeric NOT NULL
);
CREATE INDEX relay_hours_by_time ON relay_hours (hour);

-- Adds a table's partition of a day, counted from 1970-01-01 UTC. Rows of that day which are in the
-- default partition move. Says whether there was anything to add.
CREATE FUNCTION add_day(parent text, key text, day bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name  text   := parent || '_d' || to_char(date '1970-01-01' + day::int, 'YYYYMMDD');
    first bigint := day * 86400000;
    next  bigint := (day + 1) * 86400000;
BEGIN
    -- One at a time in the whole database ("p2pd"): several instances add the same day.
    PERFORM pg_advisory_xact_lock(1882353764);
    IF to_regclass(quote_ident(name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, parent);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %I < $2 RETURNING *)
         INSERT INTO %I SELECT * FROM moved', parent || '_default', key, key, name)
        USING first, next;
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', parent, name, first, next);
    RETURN true;
END $$;

-- Removes a table's rows of before a day, partition by partition, and says how many.
CREATE FUNCTION drop_days_before(parent text, key text, day bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    bound     text := parent || '_d' || to_char(date '1970-01-01' + day::int, 'YYYYMMDD');
    partition regclass;
    here      bigint;
    removed   bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1882353764);
    EXECUTE format('DELETE FROM %I WHERE %I < $1', parent || '_default', key)
        USING day * 86400000;
    GET DIAGNOSTICS removed = ROW_COUNT;
    FOR partition IN
        SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass AND c.relname ~ ('^' || parent || '_d[0-9]{8}$')
          AND c.relname COLLATE "C" < bound COLLATE "C"
    LOOP
        EXECUTE format('SELECT count(*) FROM %s', partition) INTO here;
        EXECUTE format('DROP TABLE %s', partition);
        removed := removed + here;
    END LOOP;
    RETURN removed;
END $$;
