"""The floor of verification: the bound's hashes and one signature by libsodium, and nothing else.

Whoever checks a segment in one Python thread pays both, so no verification is faster: what it may
be of the bound follows from what a signature costs on this machine.
"""

import time

from nacl.bindings import crypto_sign_open

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import cose
from tallystick.evidence.keys import EDDSA
from tallystick.evidence.segment import parse
from tallystick.tools.bench.load import Load
from tallystick.tools.bench.result import BenchFailed

SIGNATURES_S = 0.25


def signature_s(device: Load) -> float:
    """Seconds that one signature of the device's checkpoints takes to verify, the least of many."""
    key = device.member.identity.key
    if key.alg != EDDSA:
        message = "the floor is of Ed25519"
        raise BenchFailed("bench-failed", message)
    signed = []
    for data in device.segments:
        head = checkpoints.parse(parse(data).stretches[-1].checkpoint)
        sign1 = head.received().sign1
        signed.append(sign1.signature + cose.to_be_signed(sign1.protected, head.payload()))
    best_s = 0.0
    end = time.perf_counter() + SIGNATURES_S
    while not best_s or time.perf_counter() < end:
        start = time.thread_time()
        for one in signed:
            crypto_sign_open(one, key.raw)
        taken = time.thread_time() - start
        best_s = min(best_s or taken, taken)
    return best_s / len(signed)


def of_bound(each: int, bound_per_s: float, one_signature_s: float) -> float:
    """Of 1, what verification in segments of `each` records can be of the bound at most."""
    hashing_s = each / bound_per_s
    return hashing_s / (hashing_s + one_signature_s)
