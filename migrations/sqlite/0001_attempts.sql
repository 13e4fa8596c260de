-- One row per connection attempt. Lists and nested values are JSON; what queries filter, group or
-- rank by has a column of its own.
CREATE TABLE attempts (
    attempt         TEXT    NOT NULL PRIMARY KEY,
    app             TEXT    NOT NULL,
    caller          TEXT    NOT NULL,
    callee          TEXT    NOT NULL,
    caller_nat_type TEXT    NOT NULL,
    callee_nat_type TEXT    NOT NULL,
    caller_nat      TEXT             CHECK (caller_nat IS NULL OR json_valid(caller_nat)),
    callee_nat      TEXT             CHECK (callee_nat IS NULL OR json_valid(callee_nat)),
    policy          TEXT    NOT NULL CHECK (policy IN ('auto', 'direct', 'relay')),
    plan            TEXT    NOT NULL CHECK (json_valid(plan)),
    started_unix_ms INTEGER NOT NULL,
    outcome         TEXT    NOT NULL CHECK (outcome IN ('direct', 'relay', 'failed')),
    method          TEXT,
    connected_ms    INTEGER          CHECK (connected_ms >= 0),
    direct_ms       INTEGER          CHECK (direct_ms >= 0),
    caller_steps    TEXT    NOT NULL CHECK (json_valid(caller_steps)),
    callee_steps    TEXT    NOT NULL CHECK (json_valid(callee_steps)),
    verdict         TEXT    NOT NULL,
    reason          TEXT
) STRICT;

-- The list (newest first), the time filter and the retention bound.
CREATE INDEX attempts_by_time ON attempts (started_unix_ms, attempt);
