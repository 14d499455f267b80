-- What version 3 of the store adds to version 2: quotas of validators (quotas.py), imported peers.

-- What a validator refused, signed by it (docs/protocol.md, 6.7). `until_ms` is by our own clock.
CREATE TABLE quota_refusals (
  validator TEXT NOT NULL,
  key BLOB NOT NULL,
  quota TEXT NOT NULL,
  holder TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  count INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (validator, key, quota)
) WITHOUT ROWID;
-- Segments that a validator was not sent because their device must wait: sent later, in order.
CREATE TABLE held (
  validator TEXT NOT NULL,
  device BLOB NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (validator, device, at)
) WITHOUT ROWID;
-- Imported organisations: the newest good file of each (docs/protocol.md, 5.6).
CREATE TABLE peer_files (
  name TEXT PRIMARY KEY,
  data BLOB NOT NULL,
  since_ms INTEGER NOT NULL
) WITHOUT ROWID;
