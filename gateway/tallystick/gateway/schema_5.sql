-- What version 5 of the store adds to version 4: holds that reach devices (devicehold.py).

-- '' is the gateway alone, '*' all devices; else their ids in base64url, with blanks between.
ALTER TABLE holds ADD COLUMN devices TEXT NOT NULL DEFAULT '';
-- The newest statement for each device that was ever held. `until_ms` is null where it ends a hold.
-- `since_at`: where the log ended when it was made, for what the device answers comes later.
CREATE TABLE device_holds (
  device BLOB PRIMARY KEY,
  serial INTEGER NOT NULL,
  until_ms INTEGER,
  statement BLOB NOT NULL,
  since_at INTEGER NOT NULL,
  sent_ms INTEGER NOT NULL DEFAULT 0,
  known_ms INTEGER
) WITHOUT ROWID;
