"""The file of a validator's store, where it is SQLite's."""

import os
from pathlib import Path

from tallystick.validator._sqlite import SqliteFile


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = SqliteFile(tmp_path / "validator.sqlite")
        with made.writer.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE one (two INTEGER)")
    finally:
        os.umask(before)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o600"] * 4
    made.close()
