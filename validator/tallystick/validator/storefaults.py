"""What may be wrong with a store as a whole."""

from tallystick.evidence.errors import CouldNotCheck


class StoreBusy(CouldNotCheck):
    """Another process sequences the log of this store."""


class StoreAway(CouldNotCheck):
    """Its server does not answer now."""


class StoreLost(CouldNotCheck):
    """The session that held the sequencer's lock is gone: nothing is written before a new one."""
