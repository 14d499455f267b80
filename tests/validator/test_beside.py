"""What changes a finding's inputs while a worker's proposal waits: it is found anew.

The same stories as with one process, told to a validator at which every set is proposed for before
each batch (support/beside.py).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.beside import Beside
from support.devices import Fleet
from tallystick.tools.postgres import Postgres
from validator.test_keychanges import (
    test_a_compromised_old_key_makes_no_new_one_suspect,
    test_a_revocation_settles_what_a_fork_left_open,
    test_a_thiefs_branch_below_the_named_head_is_not_trusted,
    test_an_earlier_epoch_belongs_to_the_prefix_that_descends_from_it,
)
from validator.test_neighbours import (
    test_a_key_of_who_acquired_turns_out_bad,
    test_a_key_that_turns_out_bad_frees_its_neighbours,
    test_an_acquisition_that_comes_last_is_found,
    test_the_store_gives_what_all_claims_show,
    test_what_was_erased_takes_no_verdict_back,
    world,
)
from validator.test_reconciler import (
    test_a_claim_that_is_known_by_its_leaf_is_insufficient_until_its_body_comes,
    test_a_fork_makes_findings_again_with_a_suspect_key,
    test_a_late_claim_gives_a_new_verdict,
    test_a_leaf_that_comes_after_the_claim_that_relied_on_it,
    test_a_profile_that_comes_later_makes_the_finding,
    test_a_revocation_makes_findings_again,
    test_a_strangers_party_map_is_uninvited_and_changes_nothing,
    test_one_device_in_two_maps_contradicts_itself,
    test_silence_needs_a_logged_checkpoint_that_names_custody_after_the_deadline,
)

__all__ = [
    "test_a_claim_that_is_known_by_its_leaf_is_insufficient_until_its_body_comes",
    "test_a_compromised_old_key_makes_no_new_one_suspect",
    "test_a_fork_makes_findings_again_with_a_suspect_key",
    "test_a_key_of_who_acquired_turns_out_bad",
    "test_a_key_that_turns_out_bad_frees_its_neighbours",
    "test_a_late_claim_gives_a_new_verdict",
    "test_a_leaf_that_comes_after_the_claim_that_relied_on_it",
    "test_a_profile_that_comes_later_makes_the_finding",
    "test_a_revocation_makes_findings_again",
    "test_a_revocation_settles_what_a_fork_left_open",
    "test_a_strangers_party_map_is_uninvited_and_changes_nothing",
    "test_a_thiefs_branch_below_the_named_head_is_not_trusted",
    "test_an_acquisition_that_comes_last_is_found",
    "test_an_earlier_epoch_belongs_to_the_prefix_that_descends_from_it",
    "test_one_device_in_two_maps_contradicts_itself",
    "test_silence_needs_a_logged_checkpoint_that_names_custody_after_the_deadline",
    "test_the_store_gives_what_all_claims_show",
    "test_what_was_erased_takes_no_verdict_back",
    "world",
]


@pytest.fixture
def room(tmp_path: Path, fleet: Fleet, postgres: Postgres) -> Iterator[Beside]:
    fleets = [fleet, Fleet("borealis")]
    made = Beside(tmp_path / "validator", fleets, store=postgres.database())
    yield made
    made.close()
    assert made.computed > 0
    assert made.checked > 0
