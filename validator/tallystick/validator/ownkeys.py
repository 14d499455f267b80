"""A validator's own keys, as its configuration names them."""

from tallystick.evidence import enrolment
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import EDDSA
from tallystick.hw.secret import open_key
from tallystick.hw.signer import Signer
from tallystick.validator.config import Config
from tallystick.validator.log import LogKeys


def own_keys(config: Config) -> LogKeys:
    """Open the keys; the id is that of the first enrolled key, for life."""
    signer = open_key("key", config.key, config.key_pin_file)
    try:
        notes = open_key("note_key", config.note_key, config.note_key_pin_file)
    except BaseException:
        signer.close()
        raise
    try:
        return _checked(config, signer, notes)
    except BaseException:
        close_keys(signer, notes)
        raise


def close_keys(signer: Signer, notes: Signer) -> None:
    """Give both back."""
    notes.close()
    signer.close()


def _checked(config: Config, signer: Signer, notes: Signer) -> LogKeys:
    if notes.alg != EDDSA:
        raise Malformed("wrong-alg", "note_key: C2SP checkpoints need an Ed25519 key")
    id_ = signer.public_key().thumbprint()
    if config.credential is not None:
        statements = list(config.credential)
        root = enrolment.parse(statements[0]).iss
        if root in config.roots:
            identity = verify_credential(Credential(statements), config.roots, None)
            if identity.subject != SUBJECT_VALIDATOR:
                raise Malformed("not-enrolled", "credential: it is not a validator's")
            if identity.key != signer.public_key():
                raise Malformed("wrong-key", "credential: it is for another key than `key`")
            id_ = identity.id
    return LogKeys(config.name, config.origin, id_, signer, notes)
