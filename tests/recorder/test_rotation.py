"""A device under a new key: its log goes on, and what the old key signed stays as it was signed."""

import json
from pathlib import Path
from typing import Any

import pytest

from recorder.test_recorder import Site
from support.station import FLEET, Fleet, Station, read_credential
from tallystick.evidence import checkpoint, keychange, segment
from tallystick.evidence.cbor import encode
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.errors import CouldNotCheck, KeyDriverError, TallyError
from tallystick.evidence.event import Event
from tallystick.evidence.keys import ES256
from tallystick.evidence.record import parse as parse_record
from tallystick.evidence.root import parse_root
from tallystick.evidence.segment import verify_segment
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder.files import Files
from tallystick.recorder.frames import KEY
from tallystick.recorder.walking import Walker
from tallystick.tools import keychanges


class Under(Station):
    """A gateway that knows the device by its whole credential."""

    def __init__(self, fleet: Fleet, credential: list[bytes]) -> None:
        super().__init__(fleet, credential)
        self.learn(fleet, credential)

    def learn(self, fleet: Fleet, credential: list[bytes]) -> None:
        self.identity = verify_credential(
            Credential(credential), dict([parse_root(fleet.root_line)])
        )

    def _segment(self, received: segment.Segment) -> list[bytes]:
        for part in received.stretches:
            head = checkpoint.parse(part.checkpoint)
            head.verify(self.identity.own_key_of(head))
            self.kids = [*getattr(self, "kids", []), head.received().kid]
        tree = self.trees.get(received.epoch)
        edge = tree if tree is not None and received.first == tree.size else None
        verified = verify_segment(received, self.identity, edge)
        self.segments.append(verified)
        for stretch in verified.stretches:
            self.heads.append(stretch.checkpoint)
            self.newest = stretch.checkpoint
        known = self.records.setdefault(received.epoch, [])
        if received.first >= len(known):
            known += [i for s in received.stretches for i in s.items if isinstance(i, bytes)]
        self.trees[received.epoch] = verified.tree
        return self._custody(received.epoch)


def rotate(fleet: Fleet, config: dict[str, Any], alg: int | None = None) -> list[Any] | None:
    """Both keys and the root sign; the configuration names the new key. Returns the head."""
    folder = Path(config["credential"]).parent
    new = Signer.create(f"file:{folder / f'key-{len(list(folder.iterdir()))}'}", alg=alg)
    uri = f"file:{max(folder.glob('key-*'), key=lambda p: p.stat().st_mtime_ns)}"
    old = Signer.from_uri(config["key"])
    credential = read_credential(config)
    known = verify_credential(Credential(credential), dict([parse_root(fleet.root_line)]))
    id_ = known.id
    head = keychanges.journal_head(Path(config["journal"]), id_)
    made = keychanges.make_rotation(old, new, FLEET, id_, head, known.last_change)
    signed = made.sign(fleet.root, FLEET, id_)
    Path(config["credential"]).write_bytes(encode([*credential, signed]))
    config["key"] = uri
    return head


def events(station: Station, epoch: bytes, name: str) -> list[dict[str, Any]]:
    found = [parse_record(item) for item in station.records[epoch]]
    return [e.details for e in found if isinstance(e, Event) and e.event == name]


@pytest.mark.parametrize("alg", [None, ES256])
def test_the_log_goes_on_under_the_new_key(tmp_path: Path, alg: int | None) -> None:
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("robot-1")
    station = Under(fleet, read_credential(config))
    site = Site(fleet, config, station)
    for number in range(20):
        site.decide(number)
    site.settle()
    epoch = site.tally.epoch
    site.tally.close()
    head = rotate(fleet, config, alg)
    assert head is not None
    assert head[0] == epoch
    assert head[1] >= station.heads[-1].size
    station.learn(fleet, read_credential(config))
    again = Site(fleet, config, station)
    assert again.tally.epoch == epoch
    for number in range(20, 40):
        again.decide(number)
    again.settle()
    assert again.decisions() == list(range(40))
    thumbprint = Signer.from_uri(config["key"]).public_key().thumbprint()
    told = {"thumbprint": thumbprint, "driver": "file", "custody": "software"}
    assert events(station, epoch, "key") == [told]
    # Each head under the key that could sign it; none of the old key's is beyond the named one.
    statuses = {one.size: station.identity.status_at(one, one.key) for one in station.heads}
    assert set(statuses.values()) == {"rotated", "active"}
    again.tally.close()
    third = Site(fleet, config, station)
    third.settle()
    assert len(events(station, epoch, "key")) == 1
    third.tally.close()


def test_what_the_old_key_signed_is_sent_as_it_was_signed(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("robot-1")
    alone = Recorder.open(config, background=False)
    for number in range(30):
        alone.decision(model="m@1", inputs={"n": number}, output={"action": "grip"})
        alone.poll(5)
    alone.flush()
    # Records that no checkpoint covers yet, and perhaps a payload without its signature.
    for number in range(30, 35):
        alone.decision(model="m@1", inputs={"n": number}, output={"action": "grip"})
    alone.close()
    kids = [Signer.from_uri(config["key"]).public_key().kid()]
    rotate(fleet, config)
    kids.append(Signer.from_uri(config["key"]).public_key().kid())
    middle = Recorder.open(config, background=False)
    middle.decision(model="m@1", inputs={"n": 35}, output={"action": "grip"})
    middle.flush()
    middle.close()
    rotate(fleet, config)
    kids.append(Signer.from_uri(config["key"]).public_key().kid())
    station = Under(fleet, read_credential(config))
    site = Site(fleet, config, station)
    site.decide(36)
    site.settle()
    assert site.decisions() == list(range(37))
    # All three keys' heads reach the gateway, in order, each with its own hint.
    assert list(dict.fromkeys(station.kids)) == kids
    assert len(events(station, site.tally.epoch, "key")) == 2
    statuses = [station.identity.status_at(one, one.key) for one in station.heads]
    assert set(statuses) == {"rotated", "active"}
    site.tally.close()


def test_the_keys_are_known_after_the_files_that_named_them_are_gone(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("robot-1", journal_bytes=16384)
    station = Under(fleet, read_credential(config))
    for turn in range(3):
        site = Site(fleet, config, station)
        for number in range(60):
            site.decide(60 * turn + number)
            if number % 10 == 9:
                site.settle()
        epoch = site.tally.epoch
        site.tally.close()
        if turn == 0:
            rotate(fleet, config)
            station.learn(fleet, read_credential(config))
    # The note of the new key stands in a file that was freed; headers of later ones repeat it.
    assert KEY not in _majors(config)
    assert len(events(station, epoch, "key")) == 1
    assert {station.identity.status_at(one, one.key) for one in station.heads} == {
        "rotated", "active",
    }  # fmt: skip


def _majors(config: dict[str, Any]) -> set[int]:
    """Of all frames of its journal; their bytes alone might say anything by chance."""
    found = set()
    for file in _files(config):
        walker = Walker(Files(config["journal"]), file.name)
        while (frame := walker.next()) is not None:
            found.add(frame.major)
        walker.close()
    return found


def _files(config: dict[str, Any]) -> list[Path]:
    return sorted(Path(config["journal"]).glob("*.tally"))


def test_a_journal_that_is_in_use_gives_no_head(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("robot-1")
    tally = Recorder.open(config, background=False)
    id_ = verify_credential(
        Credential(read_credential(config)), dict([parse_root(fleet.root_line)])
    ).id
    with pytest.raises(CouldNotCheck, match="stop the recorder"):
        keychanges.journal_head(Path(config["journal"]), id_)
    tally.close()
    with pytest.raises(KeyDriverError, match="another device"):
        keychanges.journal_head(Path(config["journal"]), bytes(32))


def test_an_old_key_opens_no_longer(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("robot-1")
    old = config["key"]
    Recorder.open(config, background=False).close()
    rotate(fleet, config)
    config["key"] = old
    with pytest.raises(TallyError, match="another key"):
        Recorder.open(config, background=False)
    assert json.dumps(config)
    assert keychange.ROTATION == 0
