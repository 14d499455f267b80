"""tally.decides() in a real recorder: functions, methods, coroutines."""

import asyncio
import enum
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tallystick.evidence.errors import Malformed
from tallystick.testing import BenchRecorder, Workshop


class Gear(enum.IntEnum):
    LOW = 1


class Scan:
    """A small array as libraries have them: a buffer of a kind of its own."""

    ndim = 0

    def item(self) -> float:
        return 0.25


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("workshop"))
    yield made
    made.close()


@pytest.fixture
def bench(workshop: Workshop) -> BenchRecorder:
    made = workshop.peer("robot-1")
    made.begin()
    return made


def test_names_defaults_and_keywords(bench: BenchRecorder) -> None:
    @bench.decides("m@1", inputs=("speed", ("limit", 1), "mode"))
    def choose(frame: bytes, speed: float, /, limit: float = 0.54, *, mode: str = "slow") -> str:
        """Doc."""
        return f"{mode} {len(frame)}"

    assert choose(b"ab", 0.4) == "slow 2"
    assert choose(b"ab", 0.4, limit=2.0, mode="fast") == "fast 2"
    assert choose.__name__ == "choose" and choose.__doc__ == "Doc."
    first, second = bench.recorded.decisions
    assert first.inputs == {"speed": 0.4, "limit": 0.5, "mode": "slow"}
    assert second.inputs == {"speed": 0.4, "limit": 2, "mode": "fast"}
    assert (first.output, second.output) == ("slow 2", "fast 2")

    @bench.decides("m@1", inputs=("mode",))
    def many(*given: int, mode: str = "slow") -> None:
        pass

    many(1, 2, 3)
    assert bench.recorded.decisions[-1].inputs == {"mode": "slow"}
    with pytest.raises(TypeError):
        choose()  # type: ignore[call-arg]  # as the undecorated function
    assert bench.recorded.decisions[-1].output == {"raised": "TypeError"}


def test_methods_and_kinds_of_their_own(bench: BenchRecorder) -> None:
    class Arm:
        @bench.decides("arm@2", inputs=("gear", "scan"))
        def move(self, gear: Gear, scan: Any) -> tuple[int, str]:
            return int(gear), "go"

        @staticmethod
        @bench.decides("arm@2", inputs=("gear",))
        def check(gear: Gear) -> bool:
            return gear == Gear.LOW

    assert Arm().move(Gear.LOW, Scan()) == (1, "go") and Arm.check(Gear.LOW)
    moved, checked = bench.recorded.decisions
    assert moved.inputs == {"gear": 1, "scan": 0.25} and moved.output == [1, "go"]
    assert checked.output is True


def test_coroutines_decide_when_they_end(bench: BenchRecorder) -> None:
    @bench.decides("m@1", inputs=("n",))
    async def choose(n: int) -> str:
        await asyncio.sleep(0 if n else 60)
        return "go"

    async def run() -> str:
        slow = asyncio.create_task(choose(0))
        said = await choose(1)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return said

    assert asyncio.run(run()) == "go"
    done, cancelled = bench.recorded.decisions
    assert (done.inputs, done.output) == ({"n": 1}, "go")
    assert (cancelled.inputs, cancelled.output) == ({"n": 0}, {"raised": "CancelledError"})


def test_what_cannot_be_recorded_is_told_and_never_raised(bench: BenchRecorder) -> None:
    @bench.decides("m@1", inputs=("scan",), constraints={"scan": ("<", 1)})
    def choose(scan: Any) -> object:
        return object()

    choose(float("nan"))
    (found,) = bench.recorded.decisions
    assert found.inputs == {} and found.output is None
    assert found.context["unrecorded"] == {
        "inputs": {"scan": "bad-number"},
        "constraints": {"scan": "bad-number"},
        "output": "bad-type",
    }
    assert [name.split(":")[0] for name in bench.recorded.faults] == ["decides"]


def test_what_is_no_function_is_refused_where_it_is_defined(bench: BenchRecorder) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    def many(*given: int, **named: int) -> None:
        pass

    decides: Any = bench.decides
    for wrong, inputs in (
        (numbers, ()),
        (Scan, ()),
        (7, ()),
        (staticmethod(many), ()),
        (many, ("given",)),
        (many, ("named",)),
        (many, ("other",)),
    ):
        with pytest.raises(Malformed):
            decides("m@1", inputs=inputs)(wrong)


def test_it_costs_a_few_microseconds_more(bench: BenchRecorder) -> None:
    rule = ("<=", "0.5", "m/s")

    def plain(frame: bytes, speed: float) -> dict[str, str]:
        return {"action": "grip"}

    def by_hand(frame: bytes, speed: float) -> dict[str, str]:
        out = plain(frame, speed)
        bench.decision("m@1", {"frame": frame, "speed": speed}, {"speed": (speed, *rule)}, out)
        return out

    decided = bench.decides("m@1", inputs=("frame", "speed"), constraints={"speed": rule})(plain)

    def cost_us(function: Any) -> float:
        begin = time.thread_time_ns()
        for _ in range(50):
            function(b"x" * 32, 0.4)
        return (time.thread_time_ns() - begin) / 50 / 1000

    more = []
    for _ in range(20):
        hand = cost_us(by_hand)
        more.append(cost_us(decided) - hand)
        bench.flush()
    # Seen: 2 us. A loaded machine takes several times that; a defect (binding a signature at each
    # call, encoding twice) more.
    print(f"decides() costs {statistics.median(more):.1f} us beside decision()")
    assert statistics.median(more) < 15
