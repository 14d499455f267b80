"""A verifying process: a child of the gateway that runs `main` (verifying.py starts it).

It reads segments from its standard input and writes what it found of them to its standard output,
in order, until the input ends. It has no store, no key of the gateway's and no configuration, and
says only what is good (evidence/folded.py): what it says nothing of, the gateway looks at by
itself. See docs/adr/0017-segments-are-verified-ahead.md.
"""

import contextlib
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from tallystick.evidence.folded import Folded, fold

HEAD_BYTES = 4
_OOM_SCORE_ADJ = b"1000"  # proc(5): the first that the kernel kills


class Asked(msgspec.Struct, array_like=True):
    """A segment's bytes, and the keys (algorithm, raw) that its device has."""

    keys: list[tuple[int, bytes]]
    data: bytes


_questions = msgspec.msgpack.Decoder(list[Asked])
_answers = msgspec.msgpack.Decoder(list[Folded | None])
_encoder = msgspec.msgpack.Encoder()


def question(asked: list[Asked]) -> bytes:
    """The frame of a question: its length, then the segments."""
    return _frame(_encoder.encode(asked))


def answer_of(body: bytes) -> list[Folded | None]:
    """The body of an answer's frame."""
    return _answers.decode(body)


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(HEAD_BYTES, "big") + body


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer every question until there is none."""
    while len(head := source.read(HEAD_BYTES)) == HEAD_BYTES:
        size = int.from_bytes(head, "big")
        body = source.read(size)
        if len(body) != size:
            return
        found = [fold(one.data, one.keys) for one in _questions.decode(body)]
        sink.write(_frame(_encoder.encode(found)))
        sink.flush()


def main() -> None:
    """Serve the gateway that started this process, and end with it."""
    # The gateway decides when this ends, by closing the pipe or by SIGKILL. A terminal's Ctrl-C and
    # a service manager's SIGTERM and SIGHUP reach all processes, and are for the gateway.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Where memory ends this is to be killed and not the gateway. Some systems forbid to say so.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OOM_SCORE_ADJ)
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # Nobody reads any more; closing standard output must not complain of it again.
        sys.stderr.close()
