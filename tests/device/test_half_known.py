"""A half that came from another robot (docs/protocol.md, section 4.2), as a device verifies it.

The half of the giver in tests/support/examples.py; tests/evidence/test_guards.py compares them.
"""

from binascii import a2b_base64, hexlify

from tallystick.evidence import half
from tallystick.evidence.credential import Keyring
from tallystick.evidence.errors import TallyError
from tallystick.evidence.root import parse_root

ROOT = "acme+owEBIAYhWCDLKW88dyXLE0qVlDpG3dfoq5LIOQDeN559ghmxKQFM6A"
HALF = (
    b"hw5Y+4wBGRRQZmRvY2stM2pvcmRlci00NzExWCC9zbxL9T/7FWyc2Cn9wttytbQs0EufhlGWMRBDU8OXsmVnaXZlcmhy"
    b"ZWxlYXNlZKNkaXRlbWhwYWxsZXQtN2lzcGVlZF9tX3PEgiAEanBvc2l0aW9uX22CxIIhGH0ioWlzcGVlZF9tX3OEYjw9"
    b"xIIgBWNtL3P1omVnaXZlcoFYIHhjcri8l9Aa0UECW5UxRPf8ISJaPzCj/ukhGegk6kzlaHJlY2VpdmVygVggocvXdz8o"
    b"CePalNmI+lk/ZM4V2EP9y3JlnBtq8pZMBpKDGwAAAaDEUGwAGwAAAaDEUG8gGDKAUHnTYlZeXQdVehbKzBri2w4CgVgg"
    b"23dfqdTX/2DQJSlf//v5NY7IEZ3UdB8KwXQIlUEAKC9YzNKEWEOjAScESHhjcri8l9AaD6IBZGFjbWUCeCtlR055dUx5"
    b"WDBCclJRUUpibFRGRTlfd2hJbG9fTUtQLTZTRVo2Q1RxVE9VoFhAigRIAQIDBAUGBwgDWCDobWpM1B7CY2uTDGQ0UJP+"
    b"g+VdkDE5RUvfK5R5AqqIDAEBGRS0ghsAAAGgxFBsABT29lhAuqUsls73L5ant6NII7BrNuTyLC09QFusqZZ80ODA2qrF"
    b"NFd3MWACRQsTTLo9mmWpIIVxDkw72SpZVprmc3/pCoFZAY7ShFhDowEnBEhixrbdvicISw+iAWRhY21lAngrZUdOeXVM"
    b"eVgwQnJSUVFKYmxURkU5X3doSWxvX01LUC02U0VaNkNUcVRPVaBZAQGLBgBYIHhjcri8l9Aa0UECW5UxRPf8ISJaPzCj"
    b"/ukhGegk6kzlowEBIAYhWCCsHjHYoArtzLNgE0JtUBKg/LtCQQqdhPUxKBs/6Th1ugCAo2VuYW1lc6FndmRhNTA1MGVh"
    b"Z3YtMWZzZXJpYWxkMDAwMWxtYW51ZmFjdHVyZXJnSW5pdGVjaIGCZzIwMjYuMTFYIMO/R+ofSkpgVHAxPKyzpE9KRh9o"
    b"xvrqsH5zdhDLWsg1GDyCGmqxN5gabJJvAFhAy3fWrEg3tjT6JXKygJP7UXkq+oVYaqHw1iOYJPwHkPWp9duwQrAKYc/V"
    b"FicggQTJDOq36tsI8MvnZs69+/czDVhAsSarlw5p4+HmXPrut0i2Itp0R+PzeuF86ZHneH0nf2BwQxEo55d35A6/JZi5"
    b"J9qCuvmCgeCD9vf0vWG8UwUfCg=="
)
REFERENCE = b"2d2574a058ff028bfb270f35f309718899eacf19f4b730de07cd78138e1209a4"


def verify(data: bytes) -> half.VerifiedHalf:
    iss, key = parse_root(ROOT)
    work = half.verifier(half.parse(data), Keyring({iss: key}))
    while not work.step():
        pass
    verified: half.VerifiedHalf = work.result
    return verified


def test_it_is_accepted() -> None:
    verified = verify(a2b_base64(HALF))
    assert hexlify(verified.reference) == REFERENCE
    assert verified.claim.role == "giver" and verified.status == "active"


def test_a_changed_one_is_refused() -> None:
    data = a2b_base64(HALF)
    # In the record, the salt, the path, the checkpoint's signature, the enrolment's.
    for at in (50, 280, 310, 570, len(data) - 1):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            verify(changed)
        except TallyError:
            continue
        raise AssertionError("accepted with byte %d changed" % at)
