-- Where the peers of an attempt could be reached and what their connection used: told of an attempt,
-- never asked for by what it says. NULL where nothing is told, as by instances of the version before,
-- which may go on writing.
ALTER TABLE attempts ADD COLUMN story jsonb;
