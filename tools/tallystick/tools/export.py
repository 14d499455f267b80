"""`tally export`: fetch the evidence of an interaction or a record, from one validator or several.

What several validators give is merged into one file: a policy that wants three organisations needs
the verdicts of three. A merged file carries no more trust than its parts; `tally verify` decides.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
from rich.progress import track

from tallystick.evidence import cose, evidencefile
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.ids import interaction_id
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX
from tallystick.tools import provision
from tallystick.tools._files import read_text
from tallystick.tools.api import ValidatorApi
from tallystick.verify import Policy, check, load_evidence

T = TypeVar("T")

INTERACTION_BYTES = 16
EPOCH_BYTES = 8
DEVICE_BYTES = 32
TOKEN_BYTES_MAX = 1_024


@dataclass(frozen=True)
class Exported:
    """One evidence file, and why the policy refused it if it did."""

    path: Path
    refused: str = ""


def merge(files: Sequence[EvidenceFile]) -> EvidenceFile:
    """One file with all that the files hold, each part once; receipts over one entry together."""
    entries: dict[bytes, list[bytes]] = {}
    for file in files:
        for entry, receipts in file.entries:
            known = entries.setdefault(entry, [])
            known.extend(receipt for receipt in receipts if receipt not in known)
    halves = {half.encode(): half for file in files for half in file.halves}
    credentials = {tuple(one) for file in files for one in file.credentials}
    return EvidenceFile(
        credentials=sorted(list(one) for one in credentials),
        profiles=_once(one for file in files for one in file.profiles),
        halves=list(halves.values()),
        entries=list(entries.items()),
        custody=_once(one for file in files for one in file.custody),
        notes=_once(one for file in files for one in file.notes),
        note=next((file.note for file in files if file.note), None),
        heads=_once(one for file in files for one in file.heads),
        forks=_once(one for file in files for one in file.forks),
    )


def _once(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


def fetch_interaction(
    validators: Sequence[ValidatorApi], namespace: str, interaction: bytes
) -> bytes:
    """The merged evidence file of one interaction, parsed again before it is given away."""
    files = [
        evidencefile.parse(api.interaction_evidence(namespace, interaction)) for api in validators
    ]
    return _checked(merge([*files, _also_logged(validators, files)]))


def _also_logged(validators: Sequence[ValidatorApi], files: Sequence[EvidenceFile]) -> EvidenceFile:
    """Receipts of each validator over the checkpoints of records that only another discloses.

    A gateway may send a validator claims and hashes alone: it then has logged the checkpoint of a
    record without its body, and vouches for its place all the same.
    """
    disclosed = {half.checkpoint for file in files for half in file.halves}
    found: list[tuple[bytes, list[bytes]]] = []
    for api, file in zip(validators, files, strict=True):
        known = {entry for entry, _ in file.entries}
        for data in sorted(disclosed):
            sign1 = cose.parse(data, CHECKPOINT_BYTES_MAX)
            entry = sign1.statement_bytes()
            receipt = None if entry in known else api.receipt(sign1.digest())
            if receipt is not None:
                found.append((entry, [receipt]))
    return EvidenceFile([], [], [], found, [], [], None, [])


def fetch_record(
    validators: Sequence[ValidatorApi], device: bytes, epoch: bytes, index: int
) -> bytes:
    """The merged evidence file that discloses one record and no neighbour of it."""
    parts = [api.record_evidence(device, epoch, index) for api in validators]
    return _checked(merge([evidencefile.parse(part) for part in parts]))


def _checked(file: EvidenceFile) -> bytes:
    data = file.encode()
    evidencefile.parse(data)
    return data


def export_all(
    validators: Sequence[ValidatorApi], namespace: str, state: str, folder: Path, policy: Path
) -> list[Exported]:
    """Write the evidence of every interaction that is in `state`, and verify each offline."""
    folder.mkdir(parents=True, exist_ok=True)
    text = policy.read_text()
    (folder / "policy.toml").write_text(text)
    demands = Policy.parse(text)
    done = []
    found = validators[0].interactions(namespace, state)
    for interaction in track(found, description=f"exporting {state}", transient=True):
        data = fetch_interaction(validators, namespace, interaction)
        path = folder / f"{b64u(interaction)}.tally"
        path.write_bytes(data)
        try:
            check(load_evidence(data), demands)
        except TallyError as error:
            done.append(Exported(path, str(error)))
        else:
            done.append(Exported(path))
    return done


@click.command(
    epilog="""\b
Examples:
  tally export --validator http://127.0.0.1:8470 --interaction acme/order-4711 \\
      --profile handover --out handover.tally
  tally export --validator URL1 --token-file 1.token --validator URL2 --token-file 2.token \\
      --interaction acme/KEvJ2mO2rxGvR3pP0n8yVQ --out x.tally
  tally export --validator URL --record DEVICE/EPOCH/17 --out decision.tally
"""
)
@click.option("--validator", "urls", multiple=True, required=True, help="Its URL, repeatable.")
@click.option("--interaction", help="NAMESPACE/ID, or NAMESPACE/TASK together with --profile.")
@click.option("--profile", help="A packaged profile or a TOML file, to derive the id of a task.")
@click.option("--record", help="DEVICE/EPOCH/INDEX: discloses this record only.")
@click.option(
    "--token-file",
    "token_files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the reader's token: one for each --validator, in their order.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def export(
    urls: tuple[str, ...],
    interaction: str | None,
    profile: str | None,
    record: str | None,
    token_files: tuple[Path, ...],
    out: Path,
) -> None:
    """Fetch the evidence of an interaction, or of one record, into one file."""
    if (interaction is None) == (record is None):
        message = "give either --interaction or --record"
        raise click.UsageError(message)
    # A token is one validator's: sent to another, it would let that one read in our name.
    if token_files and len(token_files) != len(urls):
        message = f"{len(urls)} --validator need as many --token-file, in their order, or none"
        raise click.UsageError(message)
    tokens = [read_text(file, TOKEN_BYTES_MAX).strip() for file in token_files] or [""] * len(urls)
    with ExitStack() as stack:
        validators = [
            stack.enter_context(ValidatorApi(url, token))
            for url, token in zip(urls, tokens, strict=True)
        ]
        if interaction is not None:
            data = fetch_interaction(validators, *_interaction(interaction, profile))
        else:
            data = fetch_record(validators, *_record(record or ""))
    out.write_bytes(data)
    click.echo(f"{out}: {len(data):,} bytes; check it with `tally verify {out} --policy ...`")


def _interaction(text: str, profile: str | None) -> tuple[str, bytes]:
    namespace, slash, rest = text.partition("/")
    if not slash or not namespace or not rest:
        message = "--interaction is NAMESPACE/ID, or NAMESPACE/TASK together with --profile"
        raise click.UsageError(message)
    if profile is not None:
        digest = provision.packaged_profiles([profile])[0].profile.digest
        return namespace, interaction_id(digest, namespace, rest)
    try:
        return namespace, from_b64u(rest, INTERACTION_BYTES)
    except Malformed as error:
        message = f"{rest!r} is no interaction id (22 characters); a task needs --profile"
        raise click.UsageError(message) from error


def _record(text: str) -> tuple[bytes, bytes, int]:
    parts = text.split("/")
    if len(parts) != 3 or not parts[2].isdecimal():
        message = "--record is DEVICE/EPOCH/INDEX, as `tally inspect` and the validator print them"
        raise click.UsageError(message)
    try:
        device = from_b64u(parts[0], DEVICE_BYTES)
        return device, from_b64u(parts[1], EPOCH_BYTES), int(parts[2])
    except Malformed as error:
        raise click.UsageError(f"--record: {error.message}") from error
