"""A gateway with a serial cable, and robots at its other end."""

import json
from pathlib import Path
from typing import Any

from support.devices import Fleet
from support.site import Site
from tallystick.evidence import cbor, record, segment
from tallystick.evidence.decision import Decision
from tallystick.evidence.keys import EDDSA, b64u, device_text
from tallystick.gateway.store import open_reader
from tallystick.hw.signer import Signer
from tallystick.tools._ports import free_port


def serial_site(folder: Path, fleet: Fleet, *ports: str) -> Site:
    """Its broker is away for good; only the serial ports bring anything."""
    tables = "".join(f'[[serial]]\nport = "{port}"\n' for port in ports)
    return Site(folder, fleet, free_port(), limits=tables)


def robot(site: Site, folder: Path, uplink: str, **settings: Any) -> dict[str, Any]:
    """A robot's configuration, as `tally fleet enroll` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    signer = Signer.create(f"file:{folder / 'key'}", alg=EDDSA)
    credential = site.fleet.enrol(signer)  # type: ignore[arg-type]  # a file key
    (folder / "credential.cbor").write_bytes(cbor.encode(credential))
    config = {
        "fleet": site.fleet.name,
        "key": f"file:{folder / 'key'}",
        "journal": str(folder / "journal"),
        "credential": str(folder / "credential.cbor"),
        "roots": [site.fleet.root_line],
        "gateways": [
            {
                "id": device_text(site.key.thumbprint()),
                "key": b64u(cbor.encode(site.key.cose_key())),
            }
        ],
        "uplink": uplink,
        "checkpoint_records": 16,
        "checkpoint_s": 0.1,
        "resend_s": 2,
        # Room for what a program in a tight circle records between two polls.
        "buffer_bytes": 1 << 18,
        **settings,
    }
    (folder / "tallystick.json").write_text(json.dumps(config))
    return config


def decisions(site: Site) -> list[int]:
    """The number `n` of each decision that the gateway has on disk, in the order of its log."""
    connection = open_reader(site.config.store)
    rows = connection.execute("SELECT data FROM segments ORDER BY at").fetchall()
    connection.close()
    found = []
    for (data,) in rows:
        for stretch in segment.parse(data).stretches:
            for item in stretch.items:
                body = record.parse(item) if isinstance(item, bytes) else None
                if isinstance(body, Decision):
                    found.append(body.inputs["n"])
    return found


def port_state(site: Site) -> dict[str, Any]:
    """The first row of what the process says of its ports."""
    rows: list[dict[str, Any]] = site.status()["process"].get("serial", [{}])
    return rows[0] if rows else {}
