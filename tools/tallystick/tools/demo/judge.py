"""What the validators said, beside what the script expects."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from tallystick.evidence import evidencefile, verdict
from tallystick.evidence.errors import Malformed
from tallystick.evidence.ids import interaction_id
from tallystick.tools.api import ValidatorApi
from tallystick.tools.demo.play import SILENT_PARTY, Handover
from tallystick.tools.demo.scene import NAMESPACE, Scene


@dataclass
class Judgement:
    """Per validator: the state of each handover's newest verdict."""

    handovers: list[Handover]
    states: dict[str, dict[int, str]] = field(default_factory=dict)
    # Validators whose newest verdict says that the silent party was silent, not merely unheard.
    silent: set[str] = field(default_factory=set)

    @property
    def right(self) -> bool:
        """Whether every validator says of every handover what the script expects."""
        return (
            bool(self.states)
            and self.silent == set(self.states)
            and all(
                said.get(handover.number) == handover.expected
                for said in self.states.values()
                for handover in self.handovers
            )
        )

    def agreeing(self, name: str) -> int:
        """How many handovers this validator judged as expected so far."""
        said = self.states.get(name, {})
        return sum(said.get(handover.number) == handover.expected for handover in self.handovers)

    def heard_of(self, before: int) -> bool:
        """Whether every validator knows of every handover before this number."""
        numbers = {handover.number for handover in self.handovers if handover.number < before}
        return all(numbers <= set(said) for said in self.states.values())

    def table(self) -> Table:
        """The honest handovers in one row, each lie in its own."""
        table = Table(title="what each validator says", title_justify="left")
        table.add_column("handovers", min_width=18)
        table.add_column("expected")
        for name in self.states:
            table.add_column(name)
        honest = [handover for handover in self.handovers if not handover.lie]
        table.add_row(
            f"{len(honest)} honest handovers",
            f"{len(honest)} matched",
            *(self._counted(name, honest) for name in self.states),
        )
        for handover in self.handovers:
            if handover.lie:
                table.add_row(
                    f"{handover.task}: {handover.lie}",
                    handover.expected,
                    *(self._said(name, handover) for name in self.states),
                )
        return table

    def _counted(self, name: str, handovers: Sequence[Handover]) -> str:
        counts = Counter(self.states[name].get(h.number, "no verdict") for h in handovers)
        return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))

    def _said(self, name: str, handover: Handover) -> str:
        state = self.states[name].get(handover.number, "no verdict")
        return state if state == handover.expected else f"{state} (!)"


def interaction_of(scene: Scene, handover: Handover) -> bytes:
    """The id that both robots derived from the order."""
    return interaction_id(scene.profile.profile.digest, NAMESPACE, handover.task)


def _was_silent(scene: Scene, handover: Handover, api: ValidatorApi) -> bool:
    file = evidencefile.parse(api.interaction_evidence(NAMESPACE, interaction_of(scene, handover)))
    found = []
    for entry, _ in file.entries:
        try:
            found.append(verdict.parse(entry))
        except Malformed:
            continue  # another kind of entry
    newest = max(found, key=lambda one: one.size, default=None)
    return newest is not None and [row[3] for row in newest.finding.missing] == ["silent"]


def ask(scene: Scene, handovers: list[Handover], validators: dict[str, ValidatorApi]) -> Judgement:
    """Ask each validator for its newest verdict on each handover."""
    numbers = {interaction_of(scene, handover): handover.number for handover in handovers}
    judgement = Judgement(handovers)
    for name, api in validators.items():
        judgement.states[name] = {
            numbers[interaction]: state
            for interaction, state in api.states(NAMESPACE).items()
            if interaction in numbers
        }
        silent = handovers[SILENT_PARTY - 1]
        if judgement.states[name].get(SILENT_PARTY) == silent.expected and _was_silent(
            scene, silent, api
        ):
            judgement.silent.add(name)
    return judgement
