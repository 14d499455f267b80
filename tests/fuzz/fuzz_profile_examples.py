"""parse_examples returns examples on which the engine makes a finding, or raises Malformed."""

from tallystick.evidence.errors import Malformed
from tallystick.verify import profiles
from tallystick.verify.profile_examples import parse_examples, try_example

SEEDS = tuple(profiles.examples(name).encode() for name in profiles.NAMES)
PROFILES = tuple(profiles.load(name) for name in profiles.NAMES)


def target(data: bytes) -> None:
    for profile in PROFILES:
        try:
            examples = parse_examples(data.decode("latin-1"), profile)
        except Malformed:
            continue
        for example in examples:
            assert try_example(example).finding.profile == profile.digest
