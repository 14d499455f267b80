"""Hypothesis strategies for every object that a device makes, sends or receives.

Values are canonical (what a parser returns); `api_values` are what the programming interface takes.
Signed objects come signed by the fixed keys of support.examples, so that they verify.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from support.examples import (
    ACME,
    ACME_ROOT,
    GATEWAY,
    GIVER,
    GIVER2,
    GLOBEX,
    GLOBEX_ROOT,
    RECEIVER,
    Signer,
)
from tallystick.evidence import (
    checkpoint,
    claim,
    credential,
    custody,
    decision,
    deviceprofile,
    enrolment,
    event,
    eventwriter,
    half,
    hello,
    keychange,
    leaf,
    notarised,
    notice,
    number,
    profile,
    resend,
    segment,
    value,
    welcome,
)
from tallystick.evidence.accepted import AcceptedHalf
from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec
from tallystick.evidence.tree import Tree, inclusion_path, root_of

Item = bytes | tuple[int, bytes]

UINTS = st.one_of(st.integers(0, 30), st.integers(0, 2**63 - 1))
HASHES = st.binary(min_size=32, max_size=32)
EPOCHS = st.binary(min_size=8, max_size=8)
# Surrogates have no UTF-8.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)
SIGNERS = st.sampled_from([(GIVER, ACME), (RECEIVER, GLOBEX)])
ROOTS = {ACME: ACME_ROOT, GLOBEX: GLOBEX_ROOT}


@st.composite
def _numbers(draw: st.DrawFn) -> int | Dec:
    mantissa = draw(st.one_of(st.integers(-1000, 1000), st.integers(-(2**63), 2**63 - 1)))
    try:
        return number.from_scaled(mantissa, draw(st.integers(-32, 32)))
    except Malformed:
        return mantissa


NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), _numbers())
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.binary(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
NAMED = st.dictionaries(NAMES, VALUES, max_size=4)
UNITS = st.one_of(st.none(), NAMES)
OPERATORS = st.sampled_from(value.OPERATORS)


@st.composite
def _constraints(draw: st.DrawFn) -> list[Any]:
    checked, operator, limit = draw(NUMBERS), draw(OPERATORS), draw(NUMBERS)
    held = value.holds(checked, operator, limit)
    return [checked, operator, limit, draw(UNITS), held]


MODELS = st.tuples(NAMES, st.one_of(st.none(), NAMES), st.one_of(st.none(), HASHES)).map(list)
DECISIONS = st.builds(
    decision.Decision,
    UINTS,
    MODELS,
    NAMED,
    st.dictionaries(NAMES, _constraints(), max_size=3),
    NAMED,
    VALUES,
)
_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_HASH_OR_NONE = st.one_of(st.none(), HASHES)
# Details of our own events, by docs/protocol.md, section 2.1: those that must be, those that may.
OWN_EVENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "epoch": st.fixed_dictionaries(
        {
            "previous": st.one_of(
                st.none(), st.tuples(st.binary(min_size=8, max_size=8), UINTS, HASHES).map(list)
            ),
            "reason": NAMES,
        }
    ),
    "boot": st.fixed_dictionaries(
        {"boot": UINTS, "cause": NAMES, "firmware": _HASH_OR_NONE, "config": _HASH_OR_NONE},
        optional={
            "runtime": st.tuples(NAMES, NAMES, NAMES).map(list),
            "key": st.tuples(NAMES, st.one_of(st.none(), NAMES)).map(list),
        },
    ),
    "gap": st.fixed_dictionaries(
        {"dropped": UINTS, "reason": NAMES},
        optional=dict.fromkeys(("first", "to", "decisions", "claims", "events", "accepted"), UINTS),
    ),
    "clock": st.fixed_dictionaries(
        {"before_ms": st.one_of(st.none(), _INTEGERS), "after_ms": _INTEGERS},
        optional={"source": st.just("gateway")},
    ),
    "counter": st.fixed_dictionaries({"value": UINTS}),
    "key": st.fixed_dictionaries(
        {"thumbprint": HASHES}, optional={"driver": NAMES, "custody": NAMES}
    ),
    "config": st.tuples(
        NAMED, st.fixed_dictionaries({"digest": HASHES}, optional={"previous": HASHES})
    ).map(lambda pair: {**pair[0], **pair[1]}),
    "uplink": st.fixed_dictionaries({"state": st.sampled_from(["up", "down"])}),
    "space": st.fixed_dictionaries(
        {
            "state": st.sampled_from(["low", "relieved"]),
            **dict.fromkeys(("percent", "used_bytes", "limit_bytes"), UINTS),
        }
    ),
    "fault": st.fixed_dictionaries({"part": NAMES, "reason": NAMES}),
    "hold": st.fixed_dictionaries(
        {
            "state": st.sampled_from(["begun", "ended", "broken"]),
            "gateway": st.binary(min_size=8, max_size=8),
            "serial": UINTS,
        },
        optional={"to": UINTS},
    ),
}


@st.composite
def _events(draw: st.DrawFn) -> event.Event:
    name = draw(st.one_of(st.sampled_from(eventwriter.NAMES), NAMES.map("x.".__add__)))
    return event.Event(draw(UINTS), name, draw(OWN_EVENTS.get(name, NAMED)))


EVENTS = _events()
PARTIES = st.dictionaries(
    NAMES, st.lists(HASHES, min_size=1, max_size=3, unique=True).map(sorted), min_size=1, max_size=3
)


@st.composite
def claims(draw: st.DrawFn, signer: Signer | None = None) -> claim.Claim:
    """Any claim; with `signer` one whose maker is a party under its role."""
    fields = draw(NAMED)
    numbers = {name for name, item in fields.items() if type(item) in (int, Dec)}
    rules = draw(st.dictionaries(NAMES, st.tuples(OPERATORS, NUMBERS, UNITS), max_size=3))
    rules = dict(zip(sorted(numbers), rules.values(), strict=False))
    constraints = {}
    for name, (operator, limit, unit) in rules.items():
        constraints[name] = [operator, limit, unit, value.holds(fields[name], operator, limit)]
    role = draw(NAMES)
    parties = draw(PARTIES)
    if signer:
        parties[role] = sorted({*parties.get(role, []), signer.id})
    times = sorted([draw(UINTS), draw(UINTS)])
    return claim.Claim(
        draw(UINTS),
        draw(NAMES),
        draw(st.one_of(NAMES, st.binary(min_size=16, max_size=16))),
        draw(HASHES),
        role,
        draw(NAMES),
        fields,
        constraints,
        parties,
        draw(st.one_of(st.none(), st.just([*times, draw(UINTS)]))),
        draw(st.lists(HASHES, max_size=2, unique=True).map(sorted)),
    )


ACCEPTED = st.builds(AcceptedHalf, UINTS, st.binary(min_size=1, max_size=60))
RECORDS = st.one_of(DECISIONS, EVENTS, claims(), ACCEPTED)


@st.composite
def _checkpoints(draw: st.DrawFn) -> checkpoint.Checkpoint:
    size = draw(st.integers(1, 2**63 - 1))
    return checkpoint.Checkpoint(
        draw(EPOCHS),
        size,
        draw(HASHES),
        draw(st.integers(0, size - 1)),
        draw(UINTS),
        draw(UINTS),
        draw(st.one_of(st.none(), st.tuples(UINTS, UINTS))),
        draw(st.one_of(st.none(), UINTS)),
        draw(st.one_of(st.none(), HASHES)),
    )


CHECKPOINTS = _checkpoints()


@st.composite
def _custody(draw: st.DrawFn) -> custody.CustodyReceipt:
    from_, to = sorted([draw(UINTS), draw(st.integers(1, 2**63 - 1))])
    return custody.CustodyReceipt(
        draw(EPOCHS), from_, to, draw(HASHES), draw(st.booleans()), draw(UINTS)
    )


CUSTODY_RECEIPTS = _custody()
EVIDENCE = st.lists(st.tuples(NAMES, st.binary(min_size=1, max_size=20)).map(list), max_size=2)
PREVIOUS = st.one_of(st.none(), HASHES)
HEADS = st.one_of(st.none(), st.tuples(EPOCHS, UINTS, HASHES).map(list))


@st.composite
def enrolments(draw: st.DrawFn, signer: Signer, iss: str, subject: int = 0) -> enrolment.Enrolment:
    """Signed by the fleet's root."""
    key, possession = enrolment.request(signer, iss)
    made = enrolment.Enrolment(
        subject,
        signer.id,
        key,
        draw(st.integers(0, 3)),
        draw(EVIDENCE),
        draw(NAMED),
        draw(st.lists(st.tuples(NAMES, HASHES).map(list), max_size=2)),
        draw(UINTS),
        sorted([draw(UINTS), draw(UINTS)]),
        possession,
    )
    return enrolment.parse(made.sign(ROOTS[iss], iss, signer.id))


@st.composite
def rotations(
    draw: st.DrawFn, previous: st.SearchStrategy[bytes | None] = PREVIOUS
) -> keychange.Rotation:
    """Of the giver's key, signed by its root."""
    made = keychange.rotate(
        GIVER,
        GIVER2,
        ACME,
        GIVER.id,
        draw(st.integers(0, 3)),
        draw(EVIDENCE),
        draw(HEADS),
        draw(UINTS),
        draw(previous),
    )
    change = keychange.parse(made.sign(ACME_ROOT, ACME, GIVER.id))
    assert isinstance(change, keychange.Rotation)
    return change


@st.composite
def replacements(draw: st.DrawFn) -> keychange.Replacement:
    """Signed by the root of acme."""
    made = keychange.Replacement(GIVER2.id, GIVER.id, draw(HEADS), draw(UINTS), draw(PREVIOUS))
    change = keychange.parse(made.sign(ACME_ROOT, ACME, GIVER2.id))
    assert isinstance(change, keychange.Replacement)
    return change


@st.composite
def revocations(
    draw: st.DrawFn, previous: st.SearchStrategy[bytes | None] = PREVIOUS
) -> keychange.Revocation:
    """Of the giver's first key, signed by its root."""
    made = keychange.Revocation(
        GIVER.id, GIVER.id, draw(HEADS), draw(st.integers(0, 2)), draw(UINTS), draw(previous)
    )
    change = keychange.parse(made.sign(ACME_ROOT, ACME, GIVER.id))
    assert isinstance(change, keychange.Revocation)
    return change


@st.composite
def credentials(draw: st.DrawFn) -> credential.Credential:
    """The giver's: enrolled, perhaps rotated, perhaps revoked."""
    statements = [draw(enrolments(GIVER, ACME)).encode()]
    last = None
    if draw(st.booleans()):
        rotated = draw(rotations(st.none()))
        last = rotated.digest
        statements.append(rotated.encode())
    if draw(st.booleans()):
        statements.append(draw(revocations(st.just(last))).encode())
    return credential.Credential(statements)


@dataclass(frozen=True)
class Log:
    """A device's log of one epoch: stretches of records, with all its secrets."""

    signer: Signer
    iss: str
    epoch: bytes
    stretches: list[list[bytes]]
    seeds: list[bytes]
    leaves: list[bytes]
    checkpoints: list[bytes]

    @property
    def sizes(self) -> list[int]:
        """The sizes at the checkpoints."""
        sizes = [0]
        for records in self.stretches:
            sizes.append(sizes[-1] + len(records))
        return sizes[1:]

    def tree(self, size: int) -> Tree:
        """The tree of the first leaves."""
        tree = Tree()
        tree.extend(self.leaves[:size])
        return tree

    def segment(self, from_: int = 0, *, edge: bool = False) -> segment.Segment:
        """All stretches from the `from_`-th on, with all records."""
        first = ([0] + self.sizes)[from_]  # noqa: RUF005  # reads best so
        carried = None
        if edge and first:
            carried = segment.Edge(self.checkpoints[from_ - 1], self.tree(first).edge)
        rows = zip(self.stretches, self.seeds, self.checkpoints, strict=True)
        stretches = [
            segment.Stretch([*records], seed if records else None, head)
            for records, seed, head in list(rows)[from_:]
        ]
        return segment.Segment(self.signer.id, self.epoch, first, carried, stretches)


@st.composite
def logs(draw: st.DrawFn, *, small: bool = False) -> Log:
    """One to four stretches of up to nine records each; the first has one at least."""
    signer, iss = draw(SIGNERS)
    body = st.binary(min_size=1, max_size=5 if small else 300)
    epoch = draw(EPOCHS)
    stretches = [draw(st.lists(body, min_size=1, max_size=9))]
    stretches += draw(st.lists(st.lists(body, max_size=9), max_size=1 if small else 3))
    seeds = [draw(HASHES) for _ in stretches]
    leaves: list[bytes] = []
    heads = []
    for at, (items, seed) in enumerate(zip(stretches, seeds, strict=True)):
        leaves += leaf.leaves(seed, len(leaves), items)
        head = checkpoint.Checkpoint(epoch, len(leaves), root_of(leaves), 0, 1, 1000 * at)
        heads.append(head.sign(signer, iss, signer.id))
    return Log(signer, iss, epoch, stretches, seeds, leaves, heads)


def _elide(draw: st.DrawFn, log: Log, first: int, records: list[bytes]) -> list[Item]:
    # Records, leaf hashes and aligned subtrees, in any mixture.
    items: list[Item] = []
    at = first
    while at < first + len(records):
        level = draw(st.integers(-1, 3))
        width = 1 << max(level, 0)
        if level < 0 or at % width or at + width > first + len(records):
            items.append(records[at - first])
            at += 1
        else:
            items.append((level, root_of(log.leaves[at : at + width])))
            at += width
    return items


@st.composite
def segments(draw: st.DrawFn, *, small: bool = False) -> tuple[segment.Segment, Log]:
    """A segment that verifies: any mixture of records and elided items, seeds and single salts."""
    log = draw(logs(small=small))
    from_ = draw(st.integers(0, len(log.stretches) - 1))
    full = log.segment(from_, edge=True)
    stretches = []
    for nth, stretch in enumerate(full.stretches):
        records = log.stretches[from_ + nth]
        items = _elide(draw, log, stretch.first, records)
        secret: bytes | list[bytes] | None = log.seeds[from_ + nth]
        bodies = [at for at, item in enumerate(items) if isinstance(item, bytes)]
        if not bodies:
            secret = None
        elif draw(st.booleans()):
            salted = segment.Stretch(items, log.seeds[from_ + nth], stretch.checkpoint)
            salted.first = stretch.first
            indices = [stretch.first + sum(_width(item) for item in items[:at]) for at in bodies]
            secret = [salted.salt_of(index) for index in indices]
        stretches.append(segment.Stretch(items, secret, stretch.checkpoint))
    made = segment.Segment(full.device, full.epoch, full.first, full.edge, stretches)
    return made, log


def _width(item: Item) -> int:
    return 1 if isinstance(item, bytes) else 1 << item[0]


@st.composite
def halves(draw: st.DrawFn) -> half.Half:
    """A half that verifies against the roots of acme and globex."""
    signer, iss = draw(SIGNERS)
    made = draw(claims(signer)).encode()
    records = [*draw(st.lists(st.binary(min_size=1, max_size=9), max_size=9)), made]
    seed, epoch = draw(HASHES), draw(EPOCHS)
    index = len(records) - 1
    # Index 0 is the epoch event's.
    records, index = [b"epoch", *records], index + 1
    leaves = leaf.leaves(seed, 0, records)
    head = checkpoint.Checkpoint(epoch, len(leaves), root_of(leaves), 1, 1, 1000)
    return half.Half(
        made,
        leaf.salt(seed, index),
        index,
        inclusion_path(leaves, index),
        head.sign(signer, iss, signer.id),
        [draw(enrolments(signer, iss)).encode()],
    )


@st.composite
def _hellos(draw: st.DrawFn) -> hello.Hello:
    first, size = sorted([draw(UINTS), draw(UINTS)])
    return hello.Hello(GIVER.id, draw(EPOCHS), first, size, draw(credentials()).statements)


HELLOS = _hellos()
BLOBS = st.binary(min_size=1, max_size=60)
WELCOMES = st.builds(
    welcome.Welcome, UINTS, st.one_of(st.none(), BLOBS), st.one_of(st.none(), BLOBS)
)
RESENDS = st.builds(
    lambda epoch, range_, open_: resend.Resend(epoch, min(range_), None if open_ else max(range_)),
    EPOCHS,
    st.tuples(UINTS, UINTS),
    st.booleans(),
)
NOTARISED = st.builds(notarised.Notarised, EPOCHS, UINTS, BLOBS)
NOTICES = st.builds(notice.Notice, NAMES, st.one_of(st.none(), EPOCHS), st.one_of(st.none(), UINTS))
FIELDS = st.tuples(
    st.sampled_from(deviceprofile.TYPES),
    UNITS,
    st.one_of(st.none(), st.integers(0, 15)),
    st.booleans(),
).map(list)
CLAIM_RULES = st.dictionaries(
    NAMES,
    st.dictionaries(NAMES, st.dictionaries(NAMES, FIELDS, max_size=3), min_size=1, max_size=2),
    min_size=1,
    max_size=3,
)
DEVICE_PROFILES = st.builds(deviceprofile.DeviceProfile, HASHES, NAMES, UINTS, CLAIM_RULES)


@st.composite
def _profiles(draw: st.DrawFn) -> profile.Profile:
    rules = draw(CLAIM_RULES)
    roles = {role: [draw(st.integers(0, 1)), draw(st.integers(1, 32))] for role in rules}
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    checks = [[draw(st.sampled_from(profile.CHECKS)), name, draw(NAMED)] for name in names]
    return profile.Profile(draw(NAMES), draw(UINTS), draw(NAMES), draw(UINTS), roles, rules, checks)


PROFILES = _profiles()


@st.composite
def signed(draw: st.DrawFn, unsigned: st.SearchStrategy[Any], signer: Signer = GATEWAY) -> bytes:
    """The bytes of a statement of acme's about the giver."""
    data: bytes = draw(unsigned).sign(signer, ACME, GIVER.id)
    return data


API_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        NUMBERS,
        st.floats(-1e6, 1e6),
        st.tuples(st.integers(-1000, 1000), st.integers(-9, 9)),
        TEXTS,
        st.binary(max_size=40),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
