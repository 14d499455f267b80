"""What a validator serves of others' contradictions."""

from typing import Any

from tallystick.evidence.headproofs import Equivocation
from tallystick.evidence.keys import from_b64u
from tallystick.tools.api import ValidatorApi, octets
from tallystick.verify.stories import Told

HASH_BYTES = 32
GATEWAYS_MAX = 10_000
HEADS_MAX = 100_000


class LogApi(ValidatorApi):
    """As ValidatorApi; nothing that it returns is verified."""

    def __enter__(self) -> "LogApi":
        return self

    def fork_proofs(self) -> list[bytes]:
        """Portable fork proofs of devices, the newest first."""
        page = self._json("/v1/forks")
        with self._understood():
            return [octets(one["proof"]) for one in page["forks"]]

    def stories(self) -> list[bytes]:
        """Portable proofs of gateways that told two stories."""
        found: list[bytes] = []
        for gateway in self._gateways():
            if gateway["forks"]:
                told = self._json(f"/v1/devices/{gateway['id']}/forks")
                with self._understood():
                    found += [octets(one["portable"]) for one in told["forks"] if one["portable"]]
        return found

    def splits(self) -> list[bytes]:
        """Proofs of validators that showed it, as a witness, two logs of one size."""
        page = self._json("/v1/witnessed")
        with self._understood():
            views = [
                (str(one["ours"]), str(one["theirs"]))
                for log in page["logs"]
                for one in log["split"]
            ]
        return [Equivocation(ours, theirs, None).encode() for ours, theirs in views]

    def _gateways(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            more = {} if after is None else {"after": after}
            page = self._json("/v1/devices", subject="gateway", **more)
            with self._understood():
                found += [{"id": str(one["id"]), "forks": one["forks"]} for one in page["devices"]]
                following = page["next"]
            if following is None or following == after or len(found) > GATEWAYS_MAX:
                return found
            after = following

    def gateways(self) -> list[str]:
        """The ids of the gateways that it knows, as text."""
        return [one["id"] for one in self._gateways()]

    def told(self, id_: str) -> list[Told]:
        """What a gateway told it: signed heads, and its log in between by hashes."""
        found: list[Told] = []
        after = 0
        while True:
            page = self._json(f"/v1/gateways/{id_}/heads", after=after)
            with self._understood():
                for row in page["heads"]:
                    items = [
                        (int(one["level"]), from_b64u(one["hash"], HASH_BYTES))
                        for one in row["items"]
                    ]
                    edge = [from_b64u(one, HASH_BYTES) for one in row["edge"]]
                    found.append(Told(octets(row["statement"]), int(row["first"]), edge, items))
                following = page["next"]
                if following is None or int(following) <= after or len(found) > HEADS_MAX:
                    return found
                after = int(following)
