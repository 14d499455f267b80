"""A recorder that is off, by its configuration."""

import os

from _folder import within
from tallystick.evidence.errors import Malformed
from tallystick.recorder import Recorder


def test_off_by_configuration_does_nothing() -> None:
    def run(path: str) -> None:
        with open(path + "/tallystick.json", "w") as file:
            file.write('{"off": true, "journal": "journal"}')
        tally = Recorder.open(path + "/tallystick.json")
        tally.decision("m@1", {"n": object()}, output=1)
        tally.decision("m@1", urgent=True)
        tally.event("a.b", c=1)
        assert tally.claim("handover@1", "giver", "released", {}, task="t", item="i") == b""
        assert tally.accept(b"garbage") is None
        handle = tally.claim("handover@1", "giver", "released", {}, wait=False)
        assert handle.ready and handle.result() == b"" and not handle.kept
        assert handle.fault == "off"
        assert tally.accept(b"", wait=False).result() is None
        assert tally.poll() is False and tally.flush() is True and tally.backlog() == 0
        assert tally.epoch == b"" and tally.device == b"" and tally.received == []
        health = tally.health.as_dict()
        assert health["off"] is True and health["records"] == 0
        assert repr(tally.health) == "Health(off)"
        tally.close()
        assert os.listdir(path) == ["tallystick.json"]

    within(run)


def test_off_is_true_or_false() -> None:
    # With false the rest is asked for.
    for settings in ({"off": 1}, {"off": "yes"}, {"off": False}):
        refused = ""
        try:
            Recorder.open(settings)
        except Malformed as error:
            refused = error.reason
        assert refused == "bad-config"
