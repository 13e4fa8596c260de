-- Which earlier versions of the program may go on with this schema, or come back to it: those that
-- know its migrations up to `oldest`. A migration that they could not live with raises it.
CREATE TABLE schema_serves (oldest bigint NOT NULL);
INSERT INTO schema_serves VALUES (6);
