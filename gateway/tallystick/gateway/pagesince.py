"""Since when what the process tells of itself is as it is."""

from typing import Any

from tallystick.gateway.pagestate import Process

CLOCK_STEP_MS_MIN = 2_000  # a smaller one may be a machine that was busy between two clocks


class Since:
    """Dates what the process tells of itself."""

    def __init__(self) -> None:
        self._began: tuple[int, float] | None = None
        self._connected: tuple[bool, int] | None = None
        self._store_error_ms: int | None = None
        self._stepped: tuple[int, int | None] = (0, None)

    def of(self, state: dict[str, Any], now_ms: int, mono_s: float, broker: str) -> Process:
        """The process now."""
        began_ms, began_s = self._began = self._began or (now_ms, mono_s)
        if self._connected is None or self._connected[0] != state["connected"]:
            self._connected = (state["connected"], now_ms)
        if not state["store_error"]:
            self._store_error_ms = None
        elif self._store_error_ms is None:
            self._store_error_ms = now_ms
        self._note_step(now_ms - began_ms - round((mono_s - began_s) * 1000), now_ms)
        return Process(
            started_ms=began_ms,
            connected=self._connected[0],
            connected_since_ms=self._connected[1],
            broker=broker,
            broker_error=state["broker_error"],
            store_error=state["store_error"],
            store_error_since_ms=self._store_error_ms,
            key_error=state["key_error"],
            not_taken=state["not_taken"],
            not_sent_down=state["not_sent_down"],
            clients_replaced=state["clients_replaced"],
            connections_lost=state["connections_lost"],
            sessions_lost=state["sessions_lost"],
            duplicates=state["duplicates"],
            parked_dropped=state["parked_dropped"],
            verified_ahead=state["verify"]["used"],
            verified_late=state["verify"]["late"],
            verifiers_replaced=state["verify"]["replaced"],
            config_error=state["config_error"],
            clock_stepped_ms=self._stepped[0],
            clock_stepped_at_ms=self._stepped[1],
        )

    _drift_ms = 0

    def _note_step(self, drift_ms: int, now_ms: int) -> None:
        # Slow drift is a time server at work; a step is a jump between two looks.
        step_ms = drift_ms - self._drift_ms
        self._drift_ms = drift_ms
        if abs(step_ms) >= CLOCK_STEP_MS_MIN:
            self._stepped = (step_ms, now_ms)
