-- What version 2 of the store adds to version 1: devices that ask to join (joins.py).

-- Codes by their name. `door` is a key derived from the code, which is not kept.
CREATE TABLE invitations (
  code BLOB PRIMARY KEY,
  door BLOB NOT NULL,
  uses INTEGER NOT NULL,
  from_s INTEGER NOT NULL,
  until_s INTEGER NOT NULL,
  withdrawn INTEGER NOT NULL DEFAULT 0,
  since_ms INTEGER NOT NULL
) WITHOUT ROWID;
-- Which keys asked with a code: each is one use.
CREATE TABLE invitation_uses (
  code BLOB NOT NULL,
  key BLOB NOT NULL,
  PRIMARY KEY (code, key)
) WITHOUT ROWID;
-- What was asked, and the fleet root's answer once it is here. `key` is the asker's thumbprint.
CREATE TABLE join_requests (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  digest BLOB NOT NULL UNIQUE,
  key BLOB NOT NULL,
  code BLOB NOT NULL,
  data BLOB NOT NULL,
  since_ms INTEGER NOT NULL,
  answer BLOB,
  answered_ms INTEGER
);
CREATE INDEX join_requests_by_key ON join_requests (key, number);
