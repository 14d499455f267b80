"""The folders of a run: a fleet of devices, two gateways, three validators, a broker, and links."""

import json
import secrets
from pathlib import Path

from chaos.parts import TALLY, Part
from chaos.plan import BROKER, DRIVERS, GATEWAYS, SPARE, VALIDATORS
from chaos.relay import Relay
from chaos.times import Clocks
from support.circle import Member
from support.devices import Device, Fleet, write_key
from support.site import Site
from support.validating import HANDOVER
from tallystick.evidence import cbor
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.root import format_root
from tallystick.tools._ports import free_port
from tallystick.tools.mosquitto import Mosquitto

FLEET = "acme"
DEVICES = 200
# One device in so many has a journal that fills up while there is no link, and so hurries.
SMALL_EVERY = 10
CHECKPOINT_S, SMALL_CHECKPOINT_S = 20, 8
JOURNAL_BYTES, SMALL_JOURNAL_BYTES = 1 << 17, 1 << 14
# What a gateway waits for a validator that is away at most, and how often peers are asked.
LIMITS = "[limits]\nretry_s_max = 2.0\nverdicts_poll_s = 5.0\n"
PEER_POLL_S = 5.0
# To a validator, and back again: those of other organisations are elsewhere.
VALIDATOR_S = 0.25
DRIVER = ("-m", "chaos.driver")


class World:
    """All that is there before anything runs."""

    def __init__(self, folder: Path, seed: int, devices: int = DEVICES, pace: float = 1.0) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.fleet = Fleet(FLEET)
        self.relay = Relay()
        self.broker = Mosquitto(folder / BROKER, free_port())
        self.members = [Member(folder / name, [self.fleet], name) for name in VALIDATORS]
        for one in self.members:
            for other in self.members:
                if other is not one:
                    one.know(other, PEER_POLL_S)
        self.gateways = {name: self._gateway(name, name) for name in GATEWAYS}
        # It has the lines of the one whose place it takes.
        self.gateways[SPARE] = self._gateway(SPARE, GATEWAYS[1])
        # The same ids in every run of a seed, so the same gateway for each.
        self.devices: dict[str, list[Device]] = {
            name: [
                self.fleet.device(f"chaos-{seed}-{at}")
                for at in range(number, devices, len(DRIVERS))
            ]
            for number, name in enumerate(DRIVERS)
        }
        for name, made in self.devices.items():
            self._devices(name, made)
        public = {
            "notes": {one.name: one.note_key.text() for one in self.members},
            "gateways": {
                name: cbor.encode(site.key.cose_key()).hex() for name, site in self.gateways.items()
            },
        }
        (folder / "public.json").write_text(json.dumps(public))
        self.clocks = Clocks(folder)
        self.parts: dict[str, Part] = {
            **{name: _machine(name, "gateway", site.path) for name, site in self.gateways.items()},
            **{one.name: _machine(one.name, "validator", one.path) for one in self.members},
            **{
                name: Part(
                    name, folder / name, *DRIVER, str(folder / name), f"{seed} {name}", str(pace)
                )
                for name in DRIVERS
            },
        }

    def set_clock(self, name: str, offset_ms: int) -> None:
        """A machine's wall clock, whether its program runs or not."""
        clock = self.parts[name].clock
        assert clock is not None
        self.clocks.say(name, offset_ms)
        clock.set(offset_ms)

    def share(self, name: str, *names: str) -> None:
        """Write who shares a broker's devices into a gateway's configuration."""
        _share(self.gateways[name].path, names)

    def _gateway(self, name: str, place: str) -> Site:
        tables = ""
        for one in self.members:
            signer, _ = Fleet(one.name).member("validator", SUBJECT_VALIDATOR)
            key = format_root(one.name, signer.public_key())
            port = self._line(place, one.name, one.port, VALIDATOR_S)
            tables += (
                f'[[validators]]\nname = "{one.name}"\nurl = "http://127.0.0.1:{port}"\n'
                f'key = "{key}"\nsend = "full"\n'
            )
        port = self._line(place, BROKER, self.broker.port)
        made = Site(self.folder / name, self.fleet, port, name, tables, LIMITS)
        _share(made.path, GATEWAYS if name in GATEWAYS else (*GATEWAYS, name))
        return made

    def _line(self, name: str, to: str, port: int, delay_s: float = 0.0) -> int:
        known = self.relay.links.get(f"{name}>{to}")
        return self.relay.add(f"{name}>{to}", port, delay_s) if known is None else known.port

    def _devices(self, driver: str, devices: list[Device]) -> None:
        port = self.relay.add(f"{driver}>{BROKER}", self.broker.port)
        configs = []
        for number, device in enumerate(devices):
            folder = self.folder / driver / f"device-{number}"
            (folder / "profiles").mkdir(parents=True)
            write_key(folder / "key", device.signer)
            (folder / "credential.cbor").write_bytes(cbor.encode(list(device.credential)))
            profile = folder / "profiles" / "handover@1.cbor"
            profile.write_bytes(HANDOVER.device_profile().encode())
            for site in self.gateways.values():
                site.enrol(device)
            small = number % SMALL_EVERY == 0
            configs.append(
                {
                    "id": device.text,
                    "fleet": FLEET,
                    "key": f"file:{folder / 'key'}",
                    "journal": str(folder / "journal"),
                    "credential": str(folder / "credential.cbor"),
                    "profiles": str(folder / "profiles"),
                    "namespace": "site-1",
                    "roots": [self.fleet.root_line],
                    "gateways": [
                        {
                            "id": device_text(site.key.thumbprint()),
                            "key": b64u(cbor.encode(site.key.cose_key())),
                        }
                        for site in self.gateways.values()
                    ],
                    "uplink": f"mqtt://127.0.0.1:{port}",
                    "checkpoint_records": 8,
                    "checkpoint_s": SMALL_CHECKPOINT_S if small else CHECKPOINT_S,
                    "interval_s": 60,
                    "resend_s": 5,
                    "journal_bytes": SMALL_JOURNAL_BYTES if small else JOURNAL_BYTES,
                }
            )
        (self.folder / driver / "devices.json").write_text(json.dumps(configs))

    def close(self) -> None:
        """Whatever happened."""
        for part in self.parts.values():
            part.close()
        self.broker.kill()
        self.relay.close()
        for one in self.members:
            one.close()


def _machine(name: str, kind: str, path: Path) -> Part:
    return Part(name, path.parent, *TALLY, kind, "run", "--config", str(path), clock=True)


def _share(path: Path, names: tuple[str, ...]) -> None:
    lines = [line for line in path.read_text().splitlines() if "shared_by" not in line]
    said = ", ".join(f'"{one}"' for one in names)
    lines.insert(lines.index("[broker]") + 1, f"shared_by = [{said}]")
    path.write_text("\n".join(lines) + "\n")


def new_seed() -> int:
    """For who gives none."""
    return secrets.randbelow(1 << 32)
