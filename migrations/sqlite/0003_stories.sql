-- Where the peers of an attempt could be reached and what their connection used. NULL where nothing
-- is told.
ALTER TABLE attempts ADD COLUMN story TEXT;
