-- The list of one app, newest first.
CREATE INDEX attempts_by_app ON attempts (app, started_unix_ms DESC, attempt DESC);
