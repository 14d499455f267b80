"""The whole recorder with a software key, in 64 KiB on 32 bits: records and signs."""

import os
from binascii import unhexlify

from _folder import within
from tallystick.recorder import Recorder

# What `file_key.create` wrote once; making a key needs code that a recorder never loads.
KEY = (
    "857074616c6c79737469636b2d6b65792f31275820ffb0c917014d7af17badf413a98ddb243373ca"
    "d8401b24289184108c6900ebc95820d527a2eb917e9f9e6c211eeac957afc943798376d7e08b4e02"
    "6bd57e2003092348c24e3c67e91b11e0"
)


def test_decisions_are_recorded_and_signed_in_a_small_heap() -> None:
    def run(path: str) -> None:
        with open(path + "/key", "wb") as file:
            file.write(unhexlify(KEY))
        if hasattr(os, "chmod"):  # CPython's; a key that others may read is refused there
            os.chmod(path + "/key", 0o600)
        settings = {
            "fleet": "acme",
            "key": "file:" + path + "/key",
            "journal": path + "/journal",
            "checkpoint_records": 16,
            "checkpoint_s": 1000,
        }
        tally = Recorder.open(settings, background=False)
        for number in range(200):
            tally.decision(
                model="grasp-net@3f2a91",
                inputs={"n": number},
                constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
                output={"action": "grip"},
            )
            while tally.poll(1):
                pass
        health = tally.health
        assert health.records == 202 and health.dropped == 0 and health.faults == {}
        assert health.checkpoints == 202 // 16

    within(run)
