# Frames of a journal: check (4 bytes) || item.
#
# A record's item is the byte string that a segment carries, so sending is copying.  Its check is
# the begin of its leaf hash, which is made anyway and binds its place and its salt.  All else is an
# item of major type 3 (no record is text) whose content is an array, and whose check is the begin
# of its SHA-256: docs/recorder.md, "The journal", has them all.  A leaf frame stands for a record
# whose body was given up, a subtree frame for an aligned run of such leaves within one stretch.

from tallystick.evidence.cbor import encode, head
from tallystick.evidence.digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHECK_SIZE = 4
HEAD_SIZE_MAX = CHECK_SIZE + 5
CONTENT_BYTES_MAX = 65536
# First elements of the arrays.
HEADER = 0
SEED = 1
PAYLOAD = 2
SIGNATURE = 3
CUSTODY = 4
PAST = 5
BOOT = 6
COUNTER = 7
KEY = 8
LEAF = 9
SUBTREE = 10
GIVEN = 11
HOLD = 12
VERSION = 1
RECORD_MAJOR = 2
CONTROL_MAJOR = 3


def control(values: "list[Any]") -> bytes:
    """A frame of ours."""
    content = encode(values)
    return sha256(content)[:CHECK_SIZE] + head(CONTROL_MAJOR, len(content)) + content


def leaf_frame(kind: int, leaf: bytes) -> bytes:
    """The frame of a record without its body: its leaf hash, and its kind."""
    return control([LEAF, leaf, kind])
