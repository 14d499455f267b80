"""Someone else's code accepts what the running service issues."""

from pathlib import Path

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scitt_cose import verify_receipt

from support.devices import Fleet
from support.validating import Gateway, compress, load
from tallystick.evidence import batchanswer, checkpoint
from tallystick.evidence.keys import b64u
from tallystick.validator.service import Service


def test_scitt_cose_accepts_a_receipt_of_the_running_service(tmp_path: Path, fleet: Fleet) -> None:
    service = Service(load(tmp_path / "validator", [fleet]))
    device, gateway = fleet.device(), Gateway(fleet)
    for _ in range(5):
        device.record(3)
    gateway.take(*device.segments())
    with httpx2.Client(base_url=service.start()) as http:
        try:
            answer = http.post(
                "/v1/batches",
                content=compress(gateway.batch(devices=[device])),
                headers={"Content-Encoding": "zstd"},
            )
            raw = service.sequencer.keys.signer.public_key().raw
            pem = Ed25519PublicKey.from_public_bytes(raw).public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            )
            found = dict(batchanswer.parse(answer.content).receipts)
            for sealed in device.stretches:
                digest = checkpoint.parse(sealed.checkpoint).digest
                served = http.get(f"/v1/receipts/{b64u(digest)}")
                assert served.headers["content-type"] == "application/cose"
                assert served.content == found[digest]
                result = verify_receipt(
                    served.content,
                    leaf_entry_hex=sealed.checkpoint.hex(),
                    log_public_key_pem=pem,
                )
                assert result.ok, result.errors
                assert (result.issuer, result.subject) == ("notary", "notary.example/log")
        finally:
            service.stop()
