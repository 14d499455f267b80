"""The oracle for claims: each logged once, and the verdicts of all validators alike."""

from chaos.parts import Wrong
from chaos.reading import Notary
from chaos.truth import Truth
from tallystick.evidence import accepted, claim, half, keys, record

CLAIM, ACCEPTED_HALF = 1, 3


def _claims(notary: Notary) -> dict[bytes, dict[str, tuple[str, str]]]:
    """By interaction and role: who claimed, and the task."""
    found: dict[bytes, dict[str, tuple[str, str]]] = {}
    for log in notary.items:
        for data in notary.records(log).values():
            kind = record.kind_of(data)
            if kind in {CLAIM, ACCEPTED_HALF}:
                own = kind == CLAIM
                made = claim.parse(data if own else half.parse(accepted.parse(data).half).record)
                who = keys.device_text(log[0])
                found.setdefault(made.interaction_id(), {})[made.role] = who, str(made.interaction)
    return found


def check_claims(notary: Notary, truth: Truth) -> None:
    """One validator's: every claim once, and of each interaction what its claims come to."""
    if len(set(notary.claims)) != len(notary.claims):
        raise Wrong(f"{notary.name}: a claim is logged twice")
    held = {
        (log[0], log[1], at)
        for log in notary.items
        for at, data in notary.records(log).items()
        if record.kind_of(data) == CLAIM
    }
    if held != set(notary.claims):
        raise Wrong(f"{notary.name}: the claims of its log are not those of its devices' logs")
    claimed = _claims(notary)
    if set(claimed) != set(notary.states):
        raise Wrong(f"{notary.name}: its interactions are not those of the claims that it has")
    logged = {said for by_role in claimed.values() for said in by_role.values()}
    for text, device in truth.devices.items():
        for task in device.tasks:
            if (text, task) not in logged:
                raise Wrong(f"{notary.name}: a half of {text}, {task}, was given and is not here")
    for interaction, by_role in claimed.items():
        state, finding = notary.states[interaction]
        due = {"matched"} if len(by_role) == 2 else {"pending", "one_sided"}
        if state not in due or (state != "pending" and (finding is None or finding.state != state)):
            raise Wrong(f"{notary.name}: {interaction.hex()} is {state}, of {sorted(by_role)}")


def check_findings(notaries: list[Notary]) -> None:
    """From equal inputs all found the same."""
    findings: dict[bytes, tuple[str, bytes]] = {}
    for notary in notaries:
        for interaction, (_, finding) in notary.states.items():
            if finding is not None:
                said = findings.setdefault(finding.inputs, (notary.name, finding.encode()))
                if said[1] != finding.encode():
                    raise Wrong(f"{notary.name} and {said[0]} differ on {interaction.hex()}")
