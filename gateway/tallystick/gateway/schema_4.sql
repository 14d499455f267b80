-- What version 4 of the store adds to version 3: what was delivered and may go (pruning.py), what is
-- set aside and tried again (quarantine.py).

-- How a validator was sent segments from `from_at` on. Before its first row nobody noted it.
CREATE TABLE sent_as (
  validator TEXT NOT NULL,
  from_at INTEGER NOT NULL,
  send TEXT NOT NULL,
  PRIMARY KEY (validator, from_at)
) WITHOUT ROWID;
-- Kinds of bodies that are gone from a segment: the sum of 1 << kind. A table of its own: a column
-- of `segments` would lie behind `data`, and reading it would read that.
CREATE TABLE pruned (
  at INTEGER PRIMARY KEY,
  gone INTEGER NOT NULL
);
CREATE TABLE holds (
  name TEXT PRIMARY KEY,
  why TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  ended_ms INTEGER
) WITHOUT ROWID;
-- Of what is set aside: how often it was sent, and when it is sent again. 0: at once.
ALTER TABLE set_aside ADD COLUMN tries INTEGER NOT NULL DEFAULT 1;
ALTER TABLE set_aside ADD COLUMN retry_ms INTEGER NOT NULL DEFAULT 0;
-- Segments whose stored bytes are not those that were taken. `ask_ms`: when its device is asked.
CREATE TABLE damaged (
  at INTEGER PRIMARY KEY,
  found_ms INTEGER NOT NULL,
  asked INTEGER NOT NULL DEFAULT 0,
  ask_ms INTEGER NOT NULL DEFAULT 0
);
-- Messages that made the gateway itself fail. `retry`: an operator asked for another try.
CREATE TABLE poison (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  digest BLOB NOT NULL UNIQUE,
  device BLOB NOT NULL,
  topic TEXT NOT NULL,
  data BLOB NOT NULL,
  message TEXT NOT NULL,
  count INTEGER NOT NULL,
  first_ms INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  retry INTEGER NOT NULL DEFAULT 0
);
