"""The configuration of each enrolled member, written into its folder, ready to run.

What `tally fleet enroll` writes, the demo, the replay and the benches run on; so a configuration
that does not work is found by all of them.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.evidence import cbor, enrolment, peerfile, root
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import EDDSA, PublicKey, b64u
from tallystick.evidence.limits import PEER_FILE_BYTES_MAX, PROFILE_BYTES_MAX
from tallystick.evidence.note import NoteKey
from tallystick.evidence.profile import Profile
from tallystick.gateway.validatorconfig import Send, default_send
from tallystick.hw.signer import Signer
from tallystick.tools._files import read_bytes, read_text
from tallystick.tools.fleetdir import Fleet, Member, read_credential, write_private
from tallystick.verify import profiles as packaged
from tallystick.verify.profile_toml import parse_profile

if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets

CHECKPOINT_RECORDS = 64
CHECKPOINT_S = 5
TOPICS = "tallystick/1"
CONFIGS = {"device": "tallystick.json", "gateway": "gateway.toml", "validator": "validator.toml"}
GROUP_CHARS = 4


@dataclass(frozen=True)
class ProfileFile:
    """A profile with the text that it was written in."""

    text: str
    profile: Profile

    @property
    def filename(self) -> str:
        """`name@version`, by which programs name it."""
        return f"{self.profile.name}@{self.profile.version}"


@dataclass(frozen=True)
class ValidatorPeer:
    """A validator as a gateway's configuration names it."""

    name: str
    url: str
    credential: Path
    # What it gets; unless given all where it is the gateway's own fleet's, else claims only.
    send: Send | None = None
    batch_age_s: float | None = None  # the gateway's own unless given


def profile_file(text: str) -> ProfileFile:
    """A profile from its TOML text; raises Malformed with the line and key."""
    return ProfileFile(text, parse_profile(text))


def packaged_profiles(names: Iterable[str]) -> list[ProfileFile]:
    """The profiles that come with tallystick, or TOML files named by path."""
    found = []
    for name in names:
        path = Path(name)
        own = path.suffix == ".toml"
        found.append(
            profile_file(read_text(path, PROFILE_BYTES_MAX) if own else packaged.text(name))
        )
    return found


def topic_prefix(fleet: Fleet) -> str:
    """A fleet's own topics, so that two fleets can share a broker without hearing each other."""
    return f"{TOPICS}/{fleet.name}"


def fingerprint(key: PublicKey) -> str:
    """The thumbprint in groups, to be compared by voice."""
    text = key.thumbprint().hex()
    groups = [text[i : i + GROUP_CHARS] for i in range(0, len(text), GROUP_CHARS)]
    return " ".join(groups[:8]) + "\n" + " ".join(groups[8:])


def device(
    fleet: Fleet,
    member: Member,
    *,
    uplink: str,
    namespace: str,
    profiles: Sequence[ProfileFile],
    gateways: Sequence[Member] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write a device's `tallystick.json` and what it names; returns its path.

    The device pins the fleet's gateways (all enrolled so far unless `gateways` says which), and the
    fleet roots that its fleet trusts.
    """
    folder = member.path / "profiles"
    folder.mkdir(exist_ok=True)
    for name, data in device_profiles(profiles).items():
        (folder / name).write_bytes(data)
    config = {
        "key": "file:key",
        "journal": "journal",
        "credential": "credential.cbor",
        "profiles": "profiles",
        **device_settings(
            fleet, member, uplink=uplink, namespace=namespace, gateways=gateways, settings=settings
        ),
    }
    path = member.path / "tallystick.json"
    path.write_text(json.dumps(config, indent=2) + "\n")
    return path


def device_profiles(profiles: Sequence[ProfileFile]) -> dict[str, bytes]:
    """What a device gets of profiles, by file name."""
    return {f"{item.filename}.cbor": item.profile.device_profile().encode() for item in profiles}


def device_settings(
    fleet: Fleet,
    member: Member,
    *,
    uplink: str,
    namespace: str,
    gateways: Sequence[Member] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the fleet says in a device's configuration; its key and files are its own affair."""
    if gateways is None:
        gateways = [m for m in fleet.members() if m.kind == "gateway"]
    return {
        "fleet": fleet.name,
        "roots": fleet.root_lines(),
        "gateways": [gateway_pin(gateway) for gateway in gateways],
        "namespace": namespace,
        "uplink": uplink,
        "prefix": topic_prefix(fleet),
        "checkpoint_records": CHECKPOINT_RECORDS,
        "checkpoint_s": CHECKPOINT_S,
        "interval_s": member.identity.enrolment.interval_s,
        **(settings or {}),
    }


def gateway_pin(gateway: Member) -> dict[str, str]:
    """What a device's configuration says of a gateway whose receipts it takes."""
    return {"id": gateway.id_text, "key": b64u(cbor.encode(gateway.identity.key.cose_key()))}


def written_without(fleet: Fleet, text: str, kinds: Iterable[str] = tuple(CONFIGS)) -> list[Path]:
    """Configurations that were written before something was known, and do not name it."""
    wanted = set(kinds)
    paths = [m.path / CONFIGS[m.kind] for m in fleet.members() if m.kind in wanted]
    return [path for path in paths if path.is_file() and text not in path.read_text()]


def validator_peer(url: str, credential: str) -> ValidatorPeer:
    """A validator by its address and its credential file; its name is its enrolment's fleet."""
    path = Path(credential).resolve()
    if not path.is_file():
        raise Malformed("bad-value", f"{credential} is no credential file of a validator")
    enrolled = enrolment.parse(read_credential(path).statements[0])
    if enrolled.subject != enrolment.SUBJECT_VALIDATOR:
        raise Malformed("not-enrolled", f"{credential} is the credential of no validator")
    return ValidatorPeer(enrolled.iss, url, path)


def gateway(
    fleet: Fleet,
    member: Member,
    *,
    broker: str,
    tls: Mapping[str, str] | None = None,
    validators: Sequence[ValidatorPeer] = (),
    key: str = "file:key",
    pin_file: Path | None = None,
    limits: Mapping[str, float] | None = None,
    join: str | None = None,
    page: str | None = None,
) -> Path:
    """Write a gateway's `gateway.toml`; returns its path.

    join: where devices may ask to join; page: where its operator's page is, on loopback.
    """
    lines = [
        f"name = {_toml_text(member.label)}",
        f"fleet = {_toml_text(fleet.name)}",
        *_key_lines("key", key, pin_file),
        'credential = "credential.cbor"',
        'store = "gateway.sqlite"',
        'peer_files = "peers"',
        f"roots = {_toml_list(_service_roots(fleet, member, {peer.name for peer in validators}))}",
        "",
        "[broker]",
        f"url = {_toml_text(broker)}",
        f"prefix = {_toml_text(topic_prefix(fleet))}",
        *(f"{name} = {_toml_text(path)}" for name, path in (tls or {}).items()),
    ]
    # Copied, so that the folder can be moved to the machine that runs the gateway.
    copies = member.path / "validators"
    for peer in validators:
        copies.mkdir(exist_ok=True)
        (copies / f"{peer.name}.cbor").write_bytes(peer.credential.read_bytes())
        lines += [
            "",
            "[[validators]]",
            f"name = {_toml_text(peer.name)}",
            f"url = {_toml_text(peer.url)}",
            f"credential = {_toml_text(f'validators/{peer.name}.cbor')}",
            f"send = {_toml_text(peer.send or default_send(peer.name, fleet.name))}",
        ]
        if peer.batch_age_s is not None:
            lines.append(f"batch_age_s = {peer.batch_age_s}")
    path = member.path / "gateway.toml"
    if join is not None:
        lines += ["", "[join]", f"bind = {_toml_text(join)}"]
    if page is not None:
        lines += ["", "[page]", f"bind = {_toml_text(page)}"]
    if limits:
        lines += ["", "[limits]", *(f"{name} = {value}" for name, value in limits.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def _service_roots(fleet: Fleet, member: Member, needed: Iterable[str] = ()) -> list[str]:
    """Roots for a configuration: without those of imported peers, whose files are copied beside it.

    So a peer that is removed is removed for good. needed: roots that the configuration itself
    rests on, such as that of a validator which stands in it.
    """
    brought: set[str] = set()
    folder = member.path / "peers"
    folder.mkdir(exist_ok=True)
    for path in sorted((fleet.path / "peers").glob(f"*{peerfile.SUFFIX}")):
        data = read_bytes(path, PEER_FILE_BYTES_MAX)
        brought |= {name for name, _ in peerfile.parse(data).roots}
        (folder / path.name).write_bytes(data)
    brought -= {fleet.name, *needed}
    return [line for line in fleet.root_lines() if root.parse_root(line)[0] not in brought]


def note_key(
    fleet: Fleet, label: str, folder: Path, uri: str | None = None, ask: "Secrets | None" = None
) -> NoteKey:
    """The Ed25519 key that signs the validator's log checkpoints: made in its folder, or `uri`'s.

    C2SP checkpoints are signed by Ed25519 keys only, so it cannot be in a TPM or an ATECC608.
    """
    if uri is None:
        signer = Signer.create(f"file:{folder / 'note.key'}", alg=EDDSA)
    else:
        signer = Signer.from_uri(uri, ask)
    key = signer.public_key()
    signer.close()
    return NoteKey(origin(fleet, label), key)


def origin(fleet: Fleet, label: str) -> str:
    """The log's name in its checkpoints and receipts."""
    return f"{fleet.name}/{label}"


def validator_details(
    fleet: Fleet, label: str, bind: str, folder: Path, notes: NoteKey | None = None
) -> dict[str, Any]:
    """What a validator's enrolment says of it, beside what the operator adds."""
    return {
        "origin": origin(fleet, label),
        "note_key": (notes or note_key(fleet, label, folder)).text(),
        "url": f"http://{bind}",
        "organisation": fleet.name,
    }


def validator(
    fleet: Fleet,
    member: Member,
    *,
    bind: str,
    profiles: Sequence[ProfileFile],
    key: str = "file:key",
    note_key: str = "file:note.key",
    pin_file: Path | None = None,
    open_reads: bool = False,
) -> Path:
    """Write a validator's `validator.toml` and its profiles; returns its path.

    A reader's token is made, and written to `reader.token` too; whoever has it may read bodies.
    """
    folder = member.path / "profiles"
    folder.mkdir(exist_ok=True)
    for item in profiles:
        (folder / f"{item.filename}.toml").write_text(item.text)
    token = secrets.token_hex(32)
    lines = [
        f"name = {_toml_text(fleet.name)}",
        f"origin = {_toml_text(origin(fleet, member.label))}",
        f"bind = {_toml_text(bind)}",
        *_key_lines("key", key, pin_file),
        *_key_lines("note_key", note_key, pin_file),
        'credential = "credential.cbor"',
        'store = "validator.sqlite"',
        'peer_files = "peers"',
        f"roots = {_toml_list(_service_roots(fleet, member))}",
        'profiles = "profiles"',
        f"open_reads = {'true' if open_reads else 'false'}",
        "",
        "[readers]",
        f'{fleet.name.replace(".", "-")} = "{token}"',
    ]
    write_private(member.path / "reader.token", f"{token}\n".encode())
    path = member.path / "validator.toml"
    write_private(path, ("\n".join(lines) + "\n").encode())
    return path


def follow(config: Path, others: Sequence[tuple[str, str, Member]], poll_s: float) -> None:
    """Let the validator of this `validator.toml` ask others what they heard, and cosign.

    others: name, URL, and the validator itself, for its note key.
    """
    lines = config.read_text().splitlines()
    for name, url, other in others:
        notes = other.identity.enrolment.details["note_key"]
        lines += ["", "[[peers]]", f"name = {_toml_text(name)}", f"url = {_toml_text(url)}"]
        lines += [f"poll_s = {poll_s}", f"note_key = {_toml_text(notes)}"]
    write_private(config, ("\n".join(lines) + "\n").encode())


def policy(
    roots: Sequence[str],
    validator_roots: Sequence[str],
    profiles: Sequence[ProfileFile],
    *,
    at_least: int,
    custody: str,
    states: Sequence[str] = ("matched",),
) -> str:
    """A relying party's policy (docs/policy.md) as TOML text.

    `validator_roots` are root lines of the organisations whose validators are believed; `at_least`
    of them must vouch. `custody` is the least level that is accepted (enrolment.CUSTODIES).
    """
    lines = [
        f"roots = {_toml_list(roots)}",
        "",
        "[devices]",
        f"custody = {_toml_text(custody)}",
        "",
        "[profiles]",
        f"digests = {_toml_list([b64u(item.profile.digest) for item in profiles])}",
        "",
        "[outcome]",
        f"states = {_toml_list(states)}",
        "",
        "[validators]",
        f"at_least = {at_least}",
    ]
    for line in validator_roots:
        organisation = line.partition("+")[0]
        lines += [
            "",
            "[[validators.accept]]",
            f"organisation = {_toml_text(organisation)}",
            f"root = {_toml_text(line)}",
        ]
    return "\n".join(lines) + "\n"


def _key_lines(setting: str, uri: str, pin_file: Path | None) -> list[str]:
    """A key and where its PIN is; a key file that was made here is not sealed and has none."""
    lines = [f"{setting} = {_toml_text(uri)}"]
    if pin_file is not None and uri not in {"file:key", "file:note.key"}:
        lines.append(f"{setting}_pin_file = {_toml_text(str(pin_file))}")
    return lines


def _toml_list(items: Sequence[str]) -> str:
    return "[" + ", ".join(map(_toml_text, items)) + "]"


def _toml_text(text: str) -> str:
    # A JSON string is a TOML string, but for DEL and for escapes of what is beyond 16 bits.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
