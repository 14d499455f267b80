"""What /healthz and /readyz answer: reasons why not, by name, or none. They tell no addresses."""

from tallystick.gateway import pagelimits
from tallystick.gateway.pagewatch import Live


def unready(live: Live) -> list[str]:
    """Why records are not taken and acknowledged now; asked of the process itself, each time."""
    state = live.state()
    found = []
    if not state["running"]:
        found.append("stopping: the gateway ends")
    if state["store_error"]:
        found.append("store-full: the store fails")
    elif not live.capacity().taking:
        found.append("store-full: the store is full")
    if state["key_error"]:
        found.append("key-away: the gateway's key does not answer, so no receipts are signed")
    if not state["connected"]:
        found.append("broker-away: no connection to the broker")
    return found


def unhealthy(live: Live, now_s: float) -> list[str]:
    """Why the process should be started again; a full store is no reason."""
    if live.state()["store_error"] or not live.capacity().taking:
        return []  # the worker waits for room, and a restart makes none
    if now_s - live.beat_s() > pagelimits.HEALTH_BEAT_S_MAX:
        return ["internal-error: the ingest worker does not turn"]
    return []
