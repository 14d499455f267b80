"""keys.from_cose_key returns a key whose map is exactly the input, or raises Malformed."""

from tallystick.evidence import cbor, keys
from tallystick.evidence.errors import Malformed

_ED = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
_EC = bytes.fromhex(
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
SEEDS = (
    cbor.encode(keys.from_raw(keys.EDDSA, _ED).cose_key()),
    cbor.encode(keys.from_raw(keys.ES256, _EC).cose_key()),
)


def target(data: bytes) -> None:
    try:
        key = keys.from_cose_key(cbor.decode(data))
    except Malformed:
        return
    assert cbor.encode(key.cose_key()) == data
    assert keys.from_raw(key.alg, key.raw) == key
