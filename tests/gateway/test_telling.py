"""What makes a running gateway write its state: news at once, mere counts every few seconds."""

from pathlib import Path

import pytest

from support.devices import Fleet
from support.site import Site
from tallystick.gateway import limits
from tallystick.gateway.service import Gateway

ACME = Fleet("acme")


def test_a_count_alone_is_no_reason_for_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is started: the broker of the configuration is never asked.
    gateway = Gateway(Site(tmp_path / "dock-north", ACME, 1).config)
    broker, telling = gateway.broker, gateway._telling
    monkeypatch.setattr(type(gateway), "running", property(lambda _: True), raising=False)
    writes: list[dict[str, object]] = []
    monkeypatch.setattr(
        "tallystick.gateway.telling.set_meta", lambda *_: writes.append(telling.state())
    )
    try:
        telling.turn()
        assert len(writes) == 1
        # Another gateway's devices talk on a broker that both share.
        broker.sharing.others += 1
        broker.duplicates += 1
        broker.dropped += 1
        telling.turn()
        assert len(writes) == 1
        # News is written at once, with the counts as they are.
        gateway.worker.store_error = "the disk is full"
        telling.turn()
        assert [one["left_to_others"] for one in writes] == [0, 1]
        assert [one["not_taken"] for one in writes] == [0, 1]
        # And counts alone after a while.
        broker.duplicates += 1
        monkeypatch.setattr(limits, "SERIAL_STATE_S", 0.0)
        telling.turn()
        assert [one["duplicates"] for one in writes] == [0, 1, 2]
    finally:
        gateway.stop()
