# CPython only
"""TLS to a gateway's door by CPython's library, as mqtt_tls.Secure is MicroPython's."""

import ssl

from tallystick.evidence.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LibrarySecure:
    """TLS of CPython's library, as mqtt_tls.Secure is MicroPython's."""

    looks = False

    def __init__(self, ca: "str | None", host: str) -> None:
        try:
            self._context = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise TransportError("bad-tls", "ca: %s" % error)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._host = host

    def wrap(self, raw: "Any") -> "Any":
        """The socket inside TLS, checked against `ca`, else what this computer trusts."""
        made = self._context.wrap_socket(
            raw, server_hostname=self._host, do_handshake_on_connect=False
        )
        return _Shaking(made)

    def failed(self, reason: str) -> bool:  # noqa: ARG002  # as Secure's
        """Whether to connect again at once."""
        return False

    def ended(self) -> None:
        """Nothing was changed."""


class _Shaking:
    # CPython shakes hands on demand only when told to.

    def __init__(self, made: "Any") -> None:
        self._made = made
        self._done = False

    def send(self, view: "Any") -> int:
        if not self._done:
            self._made.do_handshake()
            self._done = True
        return self._made.send(view)  # type: ignore[no-any-return]  # a socket's

    def recv_into(self, view: "Any") -> int:
        return self._made.recv_into(view)  # type: ignore[no-any-return]  # a socket's

    def close(self) -> None:
        self._made.close()
