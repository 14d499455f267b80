"""What a validator serves of others' contradictions."""

from tallystick.tools.api import ValidatorApi, octets


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
        after: str | None = None
        while True:
            more = {} if after is None else {"after": after}
            page = self._json("/v1/devices", subject="gateway", **more)
            with self._understood():
                guilty = [one["id"] for one in page["devices"] if one["forks"]]
                after = page["next"]
            for id_ in guilty:
                told = self._json(f"/v1/devices/{id_}/forks")
                with self._understood():
                    found += [octets(one["portable"]) for one in told["forks"] if one["portable"]]
            if after is None:
                return found
