"""joincsv.parse gives lines that name a device and no label or line twice, or raises Malformed."""

from tallystick.evidence.errors import Malformed
from tallystick.tools import joincsv
from tallystick.tools.fleetdir import LABEL

SEEDS = (
    b"serial,label,asset_tag,names.vda5050,profile,custody\n1,robot-1,A-1,agv-1,handover,tpm\n",
    b"thumbprint\n" + b"A" * 43 + b"\nshort\n",
)


def target(data: bytes) -> None:
    try:
        rows, wrong = joincsv.parse(data.decode("utf-8", "replace"), "robots.csv")
    except Malformed:
        return
    assert all(row.serial or row.thumbprint for row in rows)
    assert all(LABEL.fullmatch(row.label) for row in rows)
    assert len({row.label for row in rows}) == len(rows)
    lines = [row.line for row in rows] + [one.line for one in wrong]
    assert len(set(lines)) == len(lines)
