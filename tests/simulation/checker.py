"""The oracle, by a reading of its own: the wire's parsers and hashes are all that is shared.

No acknowledged record lost, none counted twice, order per device kept, every validator holds it
exactly once, every gap visible, and every store opens.
"""

import hashlib
from typing import TYPE_CHECKING

from simulation.copies import (
    Held,
    Notary,
    claims_of,
    numbers_of,
    read_gateway,
    read_notary,
)
from simulation.truth import Log, Truth
from simulation.world import Wrong
from tallystick.evidence import receipt

if TYPE_CHECKING:
    from simulation.run import Run


def check(run: "Run") -> None:
    """Wrong where a promise is broken."""
    truth = run.truth
    notaries = [read_notary(one.name, one.path) for one in run.validator_list]
    for notary in notaries:
        _check_tree(notary, truth)
        _check_content(notary, truth)
        _check_held(notary, truth)
        _check_order(notary, truth)
        _check_claims(notary, truth)
    _check_findings(notaries)
    for gateway in run.gateway_list:
        _check_content(read_gateway(gateway.name, gateway.path), truth)


# --- a validator's own log -----------------------------------------------------------------


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return _node(_root(leaves[:split]), _root(leaves[split:]))


def _root_by_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162, 2.1.3.2."""
    at, last, node = index, size - 1, leaf
    for other in path:
        if at & 1 or at == last:
            node = _node(other, node)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            node = _node(node, other)
        at >>= 1
        last >>= 1
    return node


def _check_tree(notary: Notary, truth: Truth) -> None:
    leaves = [hashlib.sha256(b"\x00" + data).digest() for _, data in notary.entries]
    if not notary.heads or notary.heads[-1][0] != len(leaves):
        raise Wrong(f"{notary.name}: its newest checkpoint is not that of its log")
    roots = dict(notary.heads)
    shown = {receipt.parse(data).size for _, data in truth.receipts[notary.name]}
    for size in sorted({*shown, len(leaves)}):
        if size not in roots:
            raise Wrong(f"{notary.name}: the checkpoint of size {size}, which left it, is gone")
        if _root(leaves[:size]) != roots[size]:
            raise Wrong(f"{notary.name}: its log is another one than at size {size}")
    for digest, data in truth.receipts[notary.name]:
        given = receipt.parse(data)
        if notary.entries[given.index][0] != digest:
            raise Wrong(f"{notary.name}: index {given.index}, of a receipt, was given again")
        root = _root_by_path(leaves[given.index], given.index, given.size, given.path)
        if root != roots[given.size]:
            raise Wrong(f"{notary.name}: a receipt is not of its log")
    statements = [digest for digest, _ in notary.entries if digest is not None]
    if len(set(statements)) != len(statements):
        raise Wrong(f"{notary.name}: a statement is logged twice")


# --- devices' logs -------------------------------------------------------------------------


def _check_content(held: Held, truth: Truth) -> None:
    for log, records in held.records.items():
        for at, data in records.items():
            if truth.records[log].get(at) != data:
                raise Wrong(f"{held.name}: index {at} of {log[1].hex()} is not what was sent")


def _check_held(notary: Notary, truth: Truth) -> None:
    for log, promised in truth.custody.items():
        here = set(notary.records.get(log, {}))
        missing = promised - here - truth.lost[log]
        if missing:
            raise Wrong(
                f"{notary.name}: a gateway gave custody receipts for {sorted(missing)} of "
                f"{log[1].hex()}, and they are not here"
            )
    for log, covered in notary.covered.items():
        # Every gap is visible: it lies before where knowledge begins, or is counted.
        gaps = set(range(notary.size[log])) - covered
        if gaps - truth.lost[log]:
            raise Wrong(f"{notary.name}: a gap at {sorted(gaps)} that nothing explains")
    for device, numbers in truth.urgent.items():
        lost = numbers - _numbers(notary, device) - _lost_numbers(truth, device)
        if lost:
            raise Wrong(f"{notary.name}: urgent decisions {sorted(lost)} had returned and are lost")


def _logs(held: dict[Log, dict[int, bytes]], device: bytes) -> list[dict[int, bytes]]:
    return [records for (owner, _), records in held.items() if owner == device]


def _numbers(notary: Notary, device: bytes) -> set[int]:
    return {n for records in _logs(notary.records, device) for n in numbers_of(records)}


def _lost_numbers(truth: Truth, device: bytes) -> set[int]:
    return {
        n
        for log, indexes in truth.lost.items()
        if log[0] == device
        for n in numbers_of({at: truth.records[log][at] for at in indexes})
    }


def _check_order(notary: Notary, truth: Truth) -> None:
    for device, counted in notary.decisions.items():
        found: list[int] = []
        for records in _logs(notary.records, device):
            numbers = numbers_of(records)
            if numbers != sorted(numbers):
                raise Wrong(f"{notary.name}: decisions are out of order: {numbers}")
            found += numbers
        if len(set(found)) != len(found):
            raise Wrong(f"{notary.name}: a decision is there twice: {sorted(found)}")
        if counted != len(found):
            raise Wrong(f"{notary.name}: it counts {counted} decisions and holds {len(found)}")
    epochs = {log for log in truth.records if log[0] not in truth.wiped_devices}
    if len(epochs) != len({device for device, _ in epochs}):
        raise Wrong("a device began an epoch although it had lost nothing")


# --- interactions --------------------------------------------------------------------------


def _check_claims(notary: Notary, truth: Truth) -> None:
    if len(set(notary.claims)) != len(notary.claims):
        raise Wrong(f"{notary.name}: a claim is logged twice")
    logged = set(notary.claims)
    for device, epoch, index in truth.claims:
        kept = device not in truth.wiped_devices and index not in truth.lost[device, epoch]
        if kept and (device, epoch, index) not in logged:
            raise Wrong(f"{notary.name}: a claim whose half was given is not in its log")


def _check_findings(notaries: list[Notary]) -> None:
    findings: dict[bytes, tuple[str, bytes]] = {}
    for notary in notaries:
        claims = claims_of(notary.records)
        if set(claims) != set(notary.states):
            raise Wrong(f"{notary.name}: its interactions are not those of the claims that it has")
        for interaction, by_role in claims.items():
            state, finding = notary.states[interaction]
            same = len({made.fields["position_m"][0] for made in by_role.values()}) == 1
            due = ("matched" if same else "conflicting") if len(by_role) == 2 else "one_sided"
            if state != due:
                raise Wrong(f"{notary.name}: {interaction.hex()} is {state} and not {due}")
            if finding is None or finding.state != state:
                raise Wrong(f"{notary.name}: no verdict says that {interaction.hex()} is {state}")
            other = findings.setdefault(finding.inputs, (notary.name, finding.encode()))
            if other[1] != finding.encode():
                raise Wrong(f"{notary.name} and {other[0]} differ on {interaction.hex()}")
