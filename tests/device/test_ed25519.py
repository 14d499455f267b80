"""Ed25519 of RFC 8032, section 7.1, in pure Python and by the interpreter's own way."""

from binascii import unhexlify

from tallystick.evidence import _ed25519, keys
from tallystick.evidence._sha512 import sha512
from tallystick.evidence.errors import Unverified
from tallystick.evidence.steps import finish

# secret, public, message, signature
VECTORS = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
            "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da0"
            "85ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac1"
            "8ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b5890"
            "9351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
)


def pure(raw: bytes, signature: bytes, message: bytes) -> bool:
    try:
        finish(_ed25519.verify(raw, signature, message))
    except Unverified as error:
        assert error.reason == "bad-signature"
        return False
    return True


def usual(raw: bytes, signature: bytes, message: bytes) -> bool:
    try:
        keys.from_raw(keys.EDDSA, raw).verify(signature, message)
    except Unverified as error:
        assert error.reason == "bad-signature"
        return False
    return True


def test_published_keys_and_signatures() -> None:
    for secret, public, message, signature in VECTORS:
        raw = unhexlify(public)
        data = unhexlify(message)
        assert finish(_ed25519.public_key(unhexlify(secret))) == raw
        assert finish(_ed25519.sign(unhexlify(secret), raw, data)) == unhexlify(signature)
        assert pure(raw, unhexlify(signature), data)
        assert usual(raw, unhexlify(signature), data)


def test_a_wrong_bit_anywhere_is_refused() -> None:
    _, public, message, text = VECTORS[2]
    raw, data, signature = unhexlify(public), unhexlify(message), unhexlify(text)
    for bit in range(0, 512, 37):
        wrong = bytearray(signature)
        wrong[bit >> 3] ^= 1 << (bit & 7)
        assert not pure(raw, bytes(wrong), data)
        assert not usual(raw, bytes(wrong), data)
    assert not pure(raw, signature, data + b"\x00")
    assert not usual(raw, signature, b"")


def test_a_second_form_of_s_is_refused() -> None:
    _, public, message, text = VECTORS[1]
    raw, data, signature = unhexlify(public), unhexlify(message), unhexlify(text)
    s = int.from_bytes(signature[32:], "little")
    for more in (1, 2, 7):
        wrong = signature[:32] + (s + more * _ed25519.L).to_bytes(32, "little")
        assert not pure(raw, wrong, data)
        assert not usual(raw, wrong, data)


def test_an_r_of_low_order_is_refused() -> None:
    # R is the identity, S = h * a: the equation holds, and libsodium refuses it all the same.
    secret, public, message, _ = VECTORS[1]
    raw, data = unhexlify(public), unhexlify(message)
    r = b"\x01" + bytes(31)
    scalar, _ = finish(_ed25519._expand(unhexlify(secret)))
    h = int.from_bytes(finish(sha512(r + raw + data)), "little")
    signature = r + (h * scalar % _ed25519.L).to_bytes(32, "little")
    assert not pure(raw, signature, data)
    assert not usual(raw, signature, data)


def test_verification_goes_in_bounded_steps() -> None:
    _, public, message, signature = VECTORS[0]
    steps = keys.pure_verifier(
        keys.EDDSA, unhexlify(public), unhexlify(signature), unhexlify(message)
    )
    count = 1
    while not steps.step():
        count += 1
    assert 100 < count < 200
    assert steps.step()


def test_the_interpreters_own_verifier_steps_too() -> None:
    _, public, message, signature = VECTORS[0]
    key = keys.from_raw(keys.EDDSA, unhexlify(public))
    steps = key.verifier(unhexlify(signature), unhexlify(message))
    while not steps.step():
        pass
    assert steps.step()
    steps = key.verifier(unhexlify(signature), b"other")
    try:
        while not steps.step():
            pass
    except Unverified as error:
        assert error.reason == "bad-signature"
    else:
        raise AssertionError("accepted another message")
