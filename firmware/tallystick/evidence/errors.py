"""Errors of every room: a reason to count, and a message to read."""


class TallyError(Exception):
    """`reason`: kebab-case token, counted and shown; `message`: what, where, what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class Malformed(TallyError):
    """Input is not what the format allows."""


class Unverified(TallyError):
    """Well-formed, but a proof, signature or binding is wrong."""


class CouldNotCheck(TallyError):
    """Evidence is missing, so nothing was decided."""


class TransportError(TallyError):
    """A link failed; nothing is said about what it carried."""


class KeyDriverError(TallyError):
    """A key could not be opened or used; never names a secret."""
