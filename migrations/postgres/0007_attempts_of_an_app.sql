-- The list of one app, newest first. While the index of a large table is built, what instances write
-- waits in their queues. Earlier versions go on beside it.
CREATE INDEX attempts_by_app ON attempts (app, started_unix_ms DESC, attempt DESC);
