"""The signed head of a gateway's log (docs/protocol.md, section 6.1)."""

from _signing import Signer, refused
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.gatewayhead import parse as parse_head

KEYS = {
    "g": "12a41592c8b7c17d4059e7b29b61e8ff96c7415f2f803348f2f017e05b9ea1da",
    "r": "5b6489c9c7fd0dcf50545e7c164886ef40491ec06c7f1b123041797e8117535e",
}
SIGNATURES = {
    "97864c57": "97425fe4e4ec32f0767dc680abb518550d1c935a0a688d27f809a68917c5452d"
    "c11068132998183c7e956cd968682c481b0ffb1b4ed2a6ce1e6740ba0f740900",
}
GATEWAY = Signer("g", KEYS, SIGNATURES)
GATEWAY_ID = GATEWAY.public_key().thumbprint()


def test_a_head_is_signed_and_verified() -> None:
    data = GatewayHead(5, b"r" * 32, 7).sign(GATEWAY, "acme", GATEWAY_ID)
    head = parse_head(data).verify(GATEWAY.public_key())
    assert (head.size, head.root, head.time_ms, head.device) == (5, b"r" * 32, 7, GATEWAY_ID)
    assert (
        refused(parse_head(data).verify, Signer("r", KEYS, SIGNATURES).public_key()) == "wrong-key"
    )
