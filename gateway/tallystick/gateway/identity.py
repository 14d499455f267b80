"""Who the gateway itself is, and who its validators are: checked before anything starts."""

from tallystick.evidence import enrolment
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.evidence.errors import CouldNotCheck, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.gateway.backup import check_none
from tallystick.gateway.config import Config
from tallystick.gateway.peers import Peer
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store, meta, set_meta
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.hw.secret import open_key


def open_signing(config: Config, now_s: int) -> Signing:
    """The gateway's key, shown to be the one that its credential names.

    A TallyError says which of the two is wrong.
    """
    identity = own_identity(config, now_s)
    signer = open_key("key", config.key, config.key_pin_file)
    if signer.public_key() != identity.key:
        signer.close()
        raise Unverified(
            "wrong-key", "the credential is for another key than `key`; enrol this key"
        )
    return Signing(signer, config.fleet, identity.id)


def own_identity(config: Config, now_s: int) -> Identity:
    """Who the configured credential speaks of: a gateway of the configured fleet, valid now."""
    credential = Credential(list(config.credential))
    identity = verify_credential(credential, config.roots, now_s)
    if identity.subject != enrolment.SUBJECT_GATEWAY:
        raise Unverified(
            "not-enrolled", "the credential is no gateway's; enrol with --kind gateway"
        )
    if identity.iss != config.fleet:
        raise Unverified(
            "not-enrolled", f"the credential is by {identity.iss}, `fleet` says {config.fleet}"
        )
    if identity.status != "active":
        raise Unverified("revoked", f"the gateway's key is {identity.status}")
    return identity


def peer_of(config: ValidatorConfig, roots: dict[str, PublicKey], now_s: int) -> Peer:
    """A validator's name and key: pinned, or vouched for by a root."""
    if config.key is not None:
        return Peer(config, *config.key)
    identity = verify_credential(Credential(list(config.credential or ())), roots, now_s)
    if identity.subject != enrolment.SUBJECT_VALIDATOR:
        raise Unverified("not-enrolled", f"validators.{config.name}: no validator's credential")
    return Peer(config, identity.iss, identity.key)


def check_owner(store: Store, gateway: bytes, name: str) -> None:
    """A new store becomes this gateway's; CouldNotCheck where it is another one's.

    A store continues one gateway's signed log: another gateway's key must not go on with it.
    """
    with store.write() as connection:
        check_none(connection, store.path)
        owner = meta(connection, "gateway")
        if owner is None:
            set_meta(connection, "gateway", gateway)
            set_meta(connection, "name", name.encode())
        elif owner != gateway:
            raise CouldNotCheck(
                "wrong-key",
                f"{store.path} belongs to another gateway; give this one its own store",
            )
