-- The gateway's store, version 1 (PRAGMA user_version). Later versions add to it: schema_2.sql, and
-- so on; store.py runs what is missing. Times end in `_ms`; `at` is an index in the gateway's own log.

CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;

-- Who is known. `newest` is the device's newest checkpoint, for welcomes.
CREATE TABLE devices (
  device BLOB PRIMARY KEY,
  iss TEXT NOT NULL,
  credential BLOB NOT NULL,
  digest BLOB NOT NULL,
  suspect TEXT,
  newest BLOB,
  since_ms INTEGER NOT NULL
);
CREATE TABLE keys (
  thumbprint BLOB PRIMARY KEY,
  device BLOB NOT NULL
) WITHOUT ROWID;

-- Devices' logs. A track is a piece of one log without holes; two tracks of one epoch are pieces
-- that do not yet touch, or the branches of a fork.
CREATE TABLE epochs (
  device BLOB NOT NULL,
  epoch BLOB NOT NULL,
  frozen_at INTEGER,
  previous_epoch BLOB,
  previous_size INTEGER,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (device, epoch)
) WITHOUT ROWID;
CREATE TABLE tracks (
  track INTEGER PRIMARY KEY,
  device BLOB NOT NULL,
  epoch BLOB NOT NULL,
  began INTEGER NOT NULL,
  base_root BLOB NOT NULL,
  size INTEGER NOT NULL,
  edge BLOB NOT NULL,
  head BLOB NOT NULL,
  bodies_from INTEGER NOT NULL,
  custody BLOB,
  custody_to INTEGER NOT NULL,
  custody_elided BLOB,
  elided_to INTEGER NOT NULL
);
CREATE INDEX tracks_by_log ON tracks (device, epoch);
CREATE TABLE forks (
  device BLOB NOT NULL,
  epoch BLOB NOT NULL,
  ours INTEGER NOT NULL,
  theirs INTEGER NOT NULL,
  size INTEGER NOT NULL,
  our_head BLOB NOT NULL,
  their_head BLOB NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (device, epoch, ours, theirs)
) WITHOUT ROWID;
CREATE TABLE parked (
  parked INTEGER PRIMARY KEY,
  device BLOB NOT NULL,
  epoch BLOB NOT NULL,
  first INTEGER NOT NULL,
  size INTEGER NOT NULL,
  checkpoint BLOB NOT NULL,
  data BLOB NOT NULL,
  time_ms INTEGER NOT NULL
);
CREATE INDEX parked_by_log ON parked (device, epoch);

-- The gateway's own log: one leaf for each accepted segment. `edge` is the device's tree at
-- `first`, so that every row can be checked by itself. `named` are the custody receipts that its
-- checkpoints name; `tail` is the length of its last checkpoint, with which `data` ends; `crc` is
-- that of `data`, to find a flipped bit before it is forwarded.
CREATE TABLE segments (
  at INTEGER PRIMARY KEY,
  track INTEGER NOT NULL,
  first INTEGER NOT NULL,
  until INTEGER NOT NULL,
  root BLOB NOT NULL,
  checkpoint BLOB NOT NULL,
  edge BLOB NOT NULL,
  named BLOB NOT NULL,
  tail INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  records INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  data BLOB NOT NULL
);
CREATE INDEX segments_by_until ON segments (track, until, checkpoint);
CREATE TABLE nodes (
  level INTEGER NOT NULL,
  at INTEGER NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (level, at)
) WITHOUT ROWID;
CREATE TABLE custody (
  digest BLOB PRIMARY KEY,
  device BLOB NOT NULL,
  data BLOB NOT NULL,
  time_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- What was refused; `device` is empty where the sender is not known.
CREATE TABLE refusals (
  reason TEXT NOT NULL,
  device BLOB NOT NULL,
  count INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  message TEXT NOT NULL,
  PRIMARY KEY (reason, device)
) WITHOUT ROWID;

-- Validators: each with its own cursor into the gateway's log.
CREATE TABLE validators (
  name TEXT PRIMARY KEY,
  key BLOB NOT NULL,
  cursor INTEGER NOT NULL,
  verdicts_after INTEGER NOT NULL,
  batches INTEGER NOT NULL,
  answered_ms INTEGER,
  error TEXT,
  error_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE told (
  validator TEXT NOT NULL,
  device BLOB NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (validator, device)
) WITHOUT ROWID;
CREATE TABLE receipts (
  validator TEXT NOT NULL,
  statement BLOB NOT NULL,
  receipt BLOB NOT NULL,
  PRIMARY KEY (validator, statement)
) WITHOUT ROWID;
CREATE TABLE set_aside (
  validator TEXT NOT NULL,
  at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (validator, at)
) WITHOUT ROWID;
CREATE TABLE notarised (
  validator TEXT NOT NULL,
  device BLOB NOT NULL,
  epoch BLOB NOT NULL,
  size INTEGER NOT NULL,
  message BLOB NOT NULL,
  PRIMARY KEY (validator, device, epoch)
) WITHOUT ROWID;
CREATE TABLE verdicts (
  validator TEXT NOT NULL,
  entry INTEGER NOT NULL,
  digest BLOB NOT NULL,
  namespace TEXT NOT NULL,
  interaction BLOB NOT NULL,
  state TEXT NOT NULL,
  superseded INTEGER NOT NULL DEFAULT 0,
  time_ms INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (validator, entry)
) WITHOUT ROWID;
CREATE INDEX verdicts_by_digest ON verdicts (validator, digest);
