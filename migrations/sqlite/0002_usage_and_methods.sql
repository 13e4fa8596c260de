-- Sessions at signaling instances and allocations at relays. Their ids are given where they happen,
-- so that storing one twice is the same as once.
CREATE TABLE sessions (
    id             TEXT    NOT NULL PRIMARY KEY,
    session        TEXT    NOT NULL,
    app            TEXT    NOT NULL,
    peer           TEXT    NOT NULL,
    instance       TEXT,
    network        TEXT,
    resumed        INTEGER NOT NULL,
    opened_unix_ms INTEGER NOT NULL,
    closed_unix_ms INTEGER,
    close_code     INTEGER
) STRICT;
CREATE INDEX sessions_by_time ON sessions (opened_unix_ms);

CREATE TABLE relay_usage (
    id                TEXT    NOT NULL PRIMARY KEY,
    region            TEXT,
    username          TEXT    NOT NULL,
    app               TEXT,
    ended             TEXT    NOT NULL,
    ended_unix_ms     INTEGER NOT NULL,
    lived_ms          INTEGER NOT NULL CHECK (lived_ms >= 0),
    to_peer_packets   INTEGER NOT NULL CHECK (to_peer_packets >= 0),
    to_peer_bytes     INTEGER NOT NULL CHECK (to_peer_bytes >= 0),
    to_client_packets INTEGER NOT NULL CHECK (to_client_packets >= 0),
    to_client_bytes   INTEGER NOT NULL CHECK (to_client_bytes >= 0)
) STRICT;
CREATE INDEX relay_usage_by_time ON relay_usage (ended_unix_ms);

-- How often each method was tried between two NAT types, and how often it carried packets, by hour
-- (counted from 1970-01-01 UTC). Triggers keep it: whoever adds, changes or removes an attempt.
CREATE TABLE method_hours (
    hour            INTEGER NOT NULL,
    app             TEXT    NOT NULL,
    caller_nat_type TEXT    NOT NULL,
    callee_nat_type TEXT    NOT NULL,
    method          TEXT    NOT NULL,
    tried           INTEGER NOT NULL,
    worked          INTEGER NOT NULL,
    PRIMARY KEY (hour, app, caller_nat_type, callee_nat_type, method)
) STRICT, WITHOUT ROWID;

-- What became of each method in an attempt: it worked where a peer says so or the attempt ended with
-- it, and was tried where it worked or a peer says that it failed.
CREATE TRIGGER methods_added AFTER INSERT ON attempts BEGIN
    INSERT INTO method_hours
    SELECT NEW.started_unix_ms / 3600000 - (NEW.started_unix_ms % 3600000 < 0),
           NEW.app, NEW.caller_nat_type, NEW.callee_nat_type, method, 1, worked
    FROM (SELECT method, MAX(worked) AS worked FROM (
              SELECT value ->> 'method' AS method, value ->> 'result' = 'ok' AS worked
              FROM json_each(NEW.caller_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT value ->> 'method', value ->> 'result' = 'ok'
              FROM json_each(NEW.callee_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT NEW.method, 1 WHERE NEW.outcome <> 'failed' AND NEW.method IS NOT NULL)
          GROUP BY method)
    WHERE true
    ON CONFLICT DO UPDATE SET tried = tried + 1, worked = method_hours.worked + excluded.worked;
END;

CREATE TRIGGER methods_removed BEFORE DELETE ON attempts BEGIN
    UPDATE method_hours SET tried = tried - 1, worked = method_hours.worked - gone.worked
    FROM (SELECT method, MAX(worked) AS worked FROM (
              SELECT value ->> 'method' AS method, value ->> 'result' = 'ok' AS worked
              FROM json_each(OLD.caller_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT value ->> 'method', value ->> 'result' = 'ok'
              FROM json_each(OLD.callee_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT OLD.method, 1 WHERE OLD.outcome <> 'failed' AND OLD.method IS NOT NULL)
          GROUP BY method) AS gone
    WHERE method_hours.method = gone.method AND app = OLD.app
      AND hour = OLD.started_unix_ms / 3600000 - (OLD.started_unix_ms % 3600000 < 0)
      AND caller_nat_type = OLD.caller_nat_type AND callee_nat_type = OLD.callee_nat_type;
END;

CREATE TRIGGER methods_before_change BEFORE UPDATE ON attempts BEGIN
    UPDATE method_hours SET tried = tried - 1, worked = method_hours.worked - gone.worked
    FROM (SELECT method, MAX(worked) AS worked FROM (
              SELECT value ->> 'method' AS method, value ->> 'result' = 'ok' AS worked
              FROM json_each(OLD.caller_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT value ->> 'method', value ->> 'result' = 'ok'
              FROM json_each(OLD.callee_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT OLD.method, 1 WHERE OLD.outcome <> 'failed' AND OLD.method IS NOT NULL)
          GROUP BY method) AS gone
    WHERE method_hours.method = gone.method AND app = OLD.app
      AND hour = OLD.started_unix_ms / 3600000 - (OLD.started_unix_ms % 3600000 < 0)
      AND caller_nat_type = OLD.caller_nat_type AND callee_nat_type = OLD.callee_nat_type;
END;

CREATE TRIGGER methods_after_change AFTER UPDATE ON attempts BEGIN
    INSERT INTO method_hours
    SELECT NEW.started_unix_ms / 3600000 - (NEW.started_unix_ms % 3600000 < 0),
           NEW.app, NEW.caller_nat_type, NEW.callee_nat_type, method, 1, worked
    FROM (SELECT method, MAX(worked) AS worked FROM (
              SELECT value ->> 'method' AS method, value ->> 'result' = 'ok' AS worked
              FROM json_each(NEW.caller_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT value ->> 'method', value ->> 'result' = 'ok'
              FROM json_each(NEW.callee_steps) WHERE value ->> 'result' IN ('ok', 'failed')
              UNION ALL
              SELECT NEW.method, 1 WHERE NEW.outcome <> 'failed' AND NEW.method IS NOT NULL)
          GROUP BY method)
    WHERE true
    ON CONFLICT DO UPDATE SET tried = tried + 1, worked = method_hours.worked + excluded.worked;
END;

-- What is stored already.
CREATE TEMP TABLE told AS
    SELECT attempt, method, MAX(worked) AS worked FROM (
        SELECT attempt, value ->> 'method' AS method, value ->> 'result' = 'ok' AS worked
        FROM attempts, json_each(caller_steps) WHERE value ->> 'result' IN ('ok', 'failed')
        UNION ALL
        SELECT attempt, value ->> 'method', value ->> 'result' = 'ok'
        FROM attempts, json_each(callee_steps) WHERE value ->> 'result' IN ('ok', 'failed')
        UNION ALL
        SELECT attempt, method, 1 FROM attempts WHERE outcome <> 'failed' AND method IS NOT NULL)
    GROUP BY attempt, method;
INSERT INTO method_hours
    SELECT started_unix_ms / 3600000 - (started_unix_ms % 3600000 < 0) AS hour, app, caller_nat_type,
           callee_nat_type, told.method, COUNT(*), SUM(told.worked)
    FROM attempts JOIN told USING (attempt)
    GROUP BY hour, app, caller_nat_type, callee_nat_type, told.method;
DROP TABLE told;
