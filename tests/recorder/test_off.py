"""TALLY=off: the same calls, and nothing happens."""

import inspect
import logging
from pathlib import Path
from typing import Any

import pytest

from support.station import Fleet
from tallystick.evidence.errors import Malformed
from tallystick.recorder import Recorder
from tallystick.recorder.off import Off


@pytest.fixture
def off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Recorder:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALLY", "off")
    with caplog.at_level(logging.WARNING):
        tally = Recorder.open()
    assert [one.getMessage() for one in caplog.records] == [
        "tallystick is off (TALLY=off): nothing is recorded"
    ]
    return tally


def test_no_configuration_is_read_and_no_file_made(off: Recorder, tmp_path: Path) -> None:
    off.decision("m@1", {"n": 1}, {"n": (1, "<", 2)}, "go", {"a": 1}, urgent=True)
    off.event("no dot needed")
    assert off.claim("p@1", "r", "c", {}, task="t") == b""
    assert off.accept(b"a half") is None
    handle = off.claim("p@1", "r", "c", {}, wait=False)
    assert handle.ready and handle.fault == "off" and handle.result() == b"" and not handle.kept
    assert off.accept(b"", wait=False).result() is None
    assert off.flush() and not off.poll() and not off.step() and not off.step_ledger()
    off.listen(lambda _name, _message: None)
    off.close()
    off.stop()
    off.wake()
    assert off.health.as_dict()["off"] is True and repr(off.health) == "Health(off)"
    assert list(tmp_path.iterdir()) == []


def test_a_decorated_function_is_the_function(off: Recorder) -> None:
    def choose() -> int:
        return 1

    assert off.decides("m@1", inputs=("whatever",))(choose) is choose


def test_every_call_of_a_recorder_is_there() -> None:
    public = [name for name in vars(Recorder) if name[0] != "_" and name != "open"]
    missing = [name for name in public if name not in vars(Off)]
    assert missing == [] and len(public) > 15
    for name in public:
        ours, theirs = getattr(Off, name), getattr(Recorder, name)
        if inspect.isfunction(theirs):
            assert list(inspect.signature(ours).parameters) == list(
                inspect.signature(theirs).parameters
            ), name


@pytest.mark.parametrize("word", ["OFF", "0", "false", "on"])
def test_another_word_is_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY", word)
    with pytest.raises(Malformed, match="TALLY"):
        Recorder.open({})


def test_off_in_a_whole_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY", "")
    config: dict[str, Any] = Fleet(tmp_path / "fleet").device("one")
    Recorder.open({**config, "off": True}).close()
    assert not Path(config["journal"]).exists()
    for wrong in ("yes", 1, None):
        with pytest.raises(Malformed, match="off"):
            Recorder.open({**config, "off": wrong})
    on = Recorder.open({**config, "off": False}, background=False)
    on.close()
    assert Path(config["journal"]).exists() and "off" not in on.health.as_dict()
