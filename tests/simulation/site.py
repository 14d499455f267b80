"""One fleet and three notaries, made once a process: keys, credentials, configurations, templates.

A run copies the templates of its stores, so that none pays for making a schema.
"""

import atexit
import json
import os
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from simulation.seam import START_MS
from support.devices import Fleet, key, write_key
from tallystick.evidence import enrolment
from tallystick.evidence.cbor import encode
from tallystick.evidence.enrolment import (
    SUBJECT_DEVICE,
    SUBJECT_GATEWAY,
    SUBJECT_VALIDATOR,
    Enrolment,
)
from tallystick.evidence.keys import b64u, device_text
from tallystick.gateway.store import Store
from tallystick.hw.software_key import FileKey
from tallystick.validator import config as configs
from tallystick.validator.config import Config
from tallystick.validator.sequencer import Sequencer
from tallystick.verify import profiles

DEVICES = ("dora", "emil", "fritz")
# Each gateway has a spare identity: one that lost its store goes on under it.
GATEWAYS = ("gate", "hall")
VALIDATORS = ("north", "east", "south")
FLEET = Fleet("acme")
HANDOVER = profiles.load("handover")
PROMISED_S = 900
VALID_S = [1_600_000_000, 4_000_000_000]


def member(name: str, fleet: Fleet, subject: int) -> tuple[FileKey, list[bytes]]:
    """A key that is the same in every run, and its credential."""
    signer = key(f"simulation: {name}")
    public, possession = enrolment.request(signer, fleet.name)
    enrolled = Enrolment(
        subject, public.thumbprint(), public, 0, [], {}, [], PROMISED_S, VALID_S, possession
    )
    return signer, [enrolled.sign(fleet.root, fleet.name, public.thumbprint())]


class Site:
    """What all runs of this process share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices = {name: member(name, FLEET, SUBJECT_DEVICE) for name in DEVICES}
        spares = [f"{name}-{number}" for name in GATEWAYS for number in (1, 2)]
        self.gateways = {name: member(name, FLEET, SUBJECT_GATEWAY) for name in spares}
        (folder / "profiles").mkdir()
        profile = folder / "profiles" / "handover@1.cbor"
        profile.write_bytes(HANDOVER.device_profile().encode())
        for name, (_, credential) in self.devices.items():
            (folder / f"{name}.cbor").write_bytes(encode(credential))
        self.validators = {name: self._validator(name) for name in VALIDATORS}
        self.validator_keys = {
            name: Fleet(name).member("validator", SUBJECT_VALIDATOR)[0].public_key()
            for name in VALIDATORS
        }
        self.gateway_store = folder / "gateway.sqlite"
        Store(self.gateway_store).close()

    def device_config(self, name: str, folder: Path, **settings: Any) -> str:
        """As `tally fleet enroll` writes it; every gateway is pinned, the spare ones too.

        The path of the file. Paths within it are relative: the log has a digest of it.
        """
        gateways = [signer.public_key() for signer, _ in self.gateways.values()]
        config = {
            "fleet": FLEET.name,
            "key": "file:none",
            "journal": name,
            "credential": f"../{name}.cbor",
            "roots": [FLEET.root_line],
            "gateways": [
                {"id": device_text(one.thumbprint()), "key": b64u(encode(one.cose_key()))}
                for one in gateways
            ],
            "profiles": "../profiles",
            "namespace": "dock-3",
            # Else the log names what is in the running program.
            "firmware": "00" * 32,
            "interval_s": 600,
            "wait_s": 1,
            **settings,
        }
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config))
        return str(path)

    def _validator(self, name: str) -> Config:
        folder = self.folder / name
        (folder / "profiles").mkdir(parents=True)
        (folder / "profiles" / "handover.toml").write_text(profiles.text("handover"))
        own = Fleet(name)
        signer, credential = own.member("validator", SUBJECT_VALIDATOR)
        write_key(folder / "key", signer)
        # A name that write_key knows: notes of every run have the same key.
        own.device("notes")
        write_key(folder / "note.key", key(f"notes of {name}"))
        (folder / "credential.cbor").write_bytes(encode(credential))
        (folder / "validator.toml").write_text(
            f'name = "{name}"\norigin = "{name}.example/log"\nbind = "127.0.0.1:0"\n'
            'key = "file:key"\nnote_key = "file:note.key"\ncredential = "credential.cbor"\n'
            'store = "validator.sqlite"\nprofiles = "profiles"\n'
            f'roots = ["{own.root_line}", "{FLEET.root_line}"]\n'
        )
        config = configs.load(folder / "validator.toml")
        Sequencer(config, lambda: START_MS).stop()
        return config

    def validator_config(self, name: str, store: Path) -> Config:
        """With the store of a run."""
        return replace(self.validators[name], store=store)


def memory() -> str | None:
    """Where temporary files lie in memory; None where somebody chose, as the tests do."""
    shared = "/dev/shm"
    return None if "TMPDIR" in os.environ or not Path(shared).exists() else shared


@cache
def site() -> Site:
    """This process's."""
    folder = tempfile.mkdtemp(prefix="tally-simulation-", dir=memory())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Site(Path(folder))
