"""What anyone who reaches a device's topic can send: it may cost a little, and frees nothing."""

from pathlib import Path
from typing import Any

import pytest

from recorder.test_recorder import Site
from support.station import Fleet, Station
from tallystick.evidence import custody
from tallystick.evidence.resend import Resend
from tallystick.evidence.welcome import Welcome
from tallystick.recorder import sending


class Gate(Station):
    """As the real gateway: what is known already is answered with the newest receipt, the same."""

    def _custody(self, epoch: bytes) -> list[bytes]:
        newest = self.receipts.get(epoch)
        if newest is not None and custody.parse(newest).to == self.trees[epoch].size:
            return [newest]
        return super()._custody(epoch)


def site(tmp_path: Path, **settings: Any) -> Site:
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("one", checkpoint_records=4, checkpoint_s=100, **settings)
    found = Site(fleet, config)
    found.station.__class__ = Gate
    return found


def test_forged_resend_requests_do_not_starve_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Faster than any resend time-out ends, as 5 s are beside the default of 30 s.
    monkeypatch.setattr(sending, "REQUEST_MS_MIN", 1)
    one = site(tmp_path, resend_s=1000)
    number = 0
    for _ in range(sending.WINDOW_SEGMENTS_MAX + 4):
        for _ in range(4):
            one.decide(number)
            number += 1
        one.turn(4)
    one.settle()
    for _ in range(100):
        one.link.deliver(Resend(one.tally.epoch, 0, None).encode())
        one.decide(number)
        number += 1
        one.turn(20)
    assert one.tally.backlog() < 20
    assert one.tally.health.resent == 0


def test_a_replayed_receipt_does_not_put_off_a_resend(tmp_path: Path) -> None:
    one = site(tmp_path, resend_s=0.2)
    one.settle()
    replayed = one.station.receipts[one.tally.epoch]
    one.station.silent = True
    for number in range(8):
        one.decide(number)

    def resent() -> bool:
        one.link.deliver(replayed)
        return one.tally.health.resent > 0

    one.turn(2000, resent)
    one.station.silent = False
    one.settle()
    assert one.decisions() == list(range(8))


@pytest.mark.parametrize("proof", ["junk", "other epoch", "stranger's"])
def test_a_forged_welcome_with_an_older_head_begins_no_epoch(tmp_path: Path, proof: str) -> None:
    """The head is real: anyone can read it in a validator's log. What it comes with is not."""
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("one")
    first = Site(fleet, config)
    first.decide(1)
    first.settle()
    head = first.station.heads[-1].encode()
    receipt = first.station.receipts[first.tally.epoch]
    first.tally.close()
    for path in Path(config["journal"]).iterdir():
        path.unlink()
    second = Site(fleet, config, first.station)
    epoch = second.tally.epoch
    assert epoch != first.tally.epoch
    forged = {"junk": b"\xd2\x84", "other epoch": receipt}.get(proof)
    if forged is None:
        made = custody.CustodyReceipt(epoch, 0, 1, bytes(32), True, 5)
        stranger = Fleet(tmp_path / "strangers")
        forged = made.sign(stranger.gateway, "acme", second.tally.device)
    second.link.connect()
    second.link.deliver(Welcome(1, head, forged).encode())
    for _ in range(200):
        second.tally.poll(1)
    assert second.tally.epoch == epoch
    second.settle()
    assert second.tally.epoch == epoch


def test_replayed_heads_do_not_end_one_epoch_after_the_other(tmp_path: Path) -> None:
    """A device that lost its journal often, and someone who replays the heads of its life."""
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("one")
    site = Site(fleet, config)
    heads = []
    for number in range(12):
        site.decide(number)
        site.settle()
        heads.append(site.station.heads[-1].encode())
        site.tally.close()
        for path in Path(config["journal"]).iterdir():
            path.unlink()
        site = Site(fleet, config, site.station)
    site.decide(12)
    site.settle()
    epochs = {site.tally.epoch}
    for head in heads * 2:
        site.decide(99)
        site.link.deliver(Welcome(0, head, None).encode())
        site.turn(30)
        epochs.add(site.tally.epoch)
    assert len(epochs) == 1
    assert site.tally.health.dropped == 0
