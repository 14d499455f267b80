# A key change of the key in _keyfile.py, for the tests of the recorder under a new key.

from binascii import unhexlify

from _keyfile import config
from tallystick.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Made once, by a root whose key nobody needs any more: signing takes code that a recorder never
# loads. ROTATION leads from the key of _keyfile.py to KEY_2.
KEY_2 = (
    "857074616c6c79737469636b2d6b65792f31275820a0ca0381175ab994dbc22abb291893a4af01feb363c1e782"
    "13ead9750921ae1458207fcb7f3893a37d66ac953ade9c64355e9cd96454128326b5b095972af42b3e79480fd6"
    "3fb3b75654d6"
)
ENROLMENT = (
    "d2845843a301270448aafe4111dafa755b0fa2016461636d6502782b56437443593852524f583041523430534b"
    "336d2d434d717832324c3939752d7579366e513865594b726345a058a08b06005820542b4263c451397d00478d"
    "122b79be08cab1db62fdf6efaecba9d0f1e60aadc1a301012006215820ffb0c917014d7af17badf413a98ddb24"
    "3373cad8401b24289184108c6900ebc90080a080183c821a6ab13b801a6c7aff005840b0a858f816a6b010f914"
    "0ffa937a9650f28c35077422dcd9f8b2e56940eedd038c19a66e5a6196ff846a7043e460bd4a212913fe6ee027"
    "907dae09b2e7bbff0758408b02052360fcc2a99d3c93f9afdac55038422cc57d37dbbe43ec3c93c6c580e68f76"
    "914c9d4ba0c0c1bae878818ee87c177d371891282895e836dcf38265cf05"
)
ROTATION = (
    "d2845843a301270448aafe4111dafa755b0fa2016461636d6502782b56437443593852524f583041523430534b"
    "336d2d434d717832324c3939752d7579366e513865594b726345a058ff8b07005820542b4263c451397d00478d"
    "122b79be08cab1db62fdf6efaecba9d0f1e60aadc15820542b4263c451397d00478d122b79be08cab1db62fdf6"
    "efaecba9d0f1e60aadc1a301012006215820a0ca0381175ab994dbc22abb291893a4af01feb363c1e78213ead9"
    "750921ae140080f61b000001a0c4506c005840b9014c9113b375068efb8d542f60bef307a95ef4c7febb18dd19"
    "d8b9a9bf96945d7c118a1332f8e8911f83ef79116071700f017a1060050ec1bacc20706dce09584047cd7e7765"
    "df9aa1b8c383d40091a6ca0cfe0460100e542c3b9045e249fbe219f111bfdde1425fef584224aeb903af2b2f49"
    "8f23a6e832d42091a5738e6df7025840a8ecd098103edb5f873e36ab6f48d9b8a93722dbb621e014893d1666cf"
    "ee6def4ebffe9e5d7944b55ff29f303fd7a5860811e1bc2a60caa5a14299931ef12c0d"
)


def settings(path: str, *, rotated: bool) -> "dict[str, Any]":
    # By hand, so that a small heap need not hold what encodes: an array of one or two byte strings.
    with open(path + "/credential.cbor", "wb") as file:
        file.write(b"\x82" if rotated else b"\x81")
        for text in (ENROLMENT, ROTATION) if rotated else (ENROLMENT,):
            size = len(text) // 2
            file.write(bytes((0x59, size >> 8, size & 255)))
            file.write(unhexlify(text))
    made = config(path, checkpoint_records=8, checkpoint_s=1000)
    made["credential"] = path + "/credential.cbor"
    if rotated:
        with open(made["key"][5:], "wb") as file:
            file.write(unhexlify(KEY_2))
    return made


def record(tally: Recorder, count: int) -> None:
    for number in range(count):
        tally.decision(model="m@1", inputs={"n": number}, output={"action": "grip"})
        while tally.poll(1):
            pass
    assert tally.flush()


def kid_of(statement: bytes) -> bytes:
    """The hint in a checkpoint: the protected header's label 4, after its label 1."""
    at = statement.find(b"\xa3\x01\x27\x04\x48") + 5
    return statement[at : at + 8]
