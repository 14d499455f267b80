"""Metrics for Prometheus: base units, `_total` for what only grows, no device as a label.

Names of validators are of the configuration, reasons and states of the protocol, so labels are
few. Certificates and enrolments of the gateway are told by the first that ends.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tallystick.gateway import circuit as circuits
from tallystick.gateway import conditions
from tallystick.gateway.pagestate import Process, Validator
from tallystick.gateway.pagewatch import Look, Watch

__all__ = ["CONTENT_TYPE", "registry", "text"]
PREFIX = "tallystick_gateway_"


def registry(watch: Watch) -> CollectorRegistry:
    """One for a gateway: several may run in a process."""
    made = CollectorRegistry()
    made.register(_Newest(watch))
    ProcessCollector(registry=made)
    return made


def text(made: CollectorRegistry) -> bytes:
    """The exposition."""
    return generate_latest(made)


class _Newest(Collector):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def describe(self) -> Iterable[Metric]:
        return []  # what is collected describes itself

    def collect(self) -> Iterator[Metric]:
        look = self._watch.newest
        if look is not None:
            yield from _process(look)
            yield from _store(look)
            yield from _devices(look)
            yield from _validators(look.snapshot.validators, look.snapshot.time_ms)
            yield from _troubles(look)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, says, value=value)


def _counter(name: str, says: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, says, value=value)


def _process(look: Look) -> Iterator[Metric]:
    now, process = look.snapshot, look.snapshot.process
    info = InfoMetricFamily(PREFIX + "build", "This program.")
    info.add_metric([], {"version": now.version, "gateway": now.name})
    yield info
    yield from _broker(process)
    yield _gauge(
        "key_answers", "Whether the gateway's key signs receipts.", float(not process.key_error)
    )
    yield _gauge(
        "configuration_in_force",
        "Whether the newest configuration file is the one in force.",
        float(not process.config_error),
    )
    yield _counter(
        "segments_verified_ahead",
        "Segments of which a verifying process had found all in time.",
        process.verified_ahead,
    )
    yield _counter(
        "segments_verified_late",
        "Segments given to a verifying process whose findings were not there in time.",
        process.verified_late,
    )
    yield _counter(
        "verifiers_replaced",
        "Verifying processes that ended or did not answer.",
        process.verifiers_replaced,
    )
    refused = CounterMetricFamily(
        PREFIX + "refused",
        "What was refused at the doors, by reason (docs/protocol.md, 1.7).",
        labels=["reason"],
    )
    for one in now.refused:
        refused.add_metric([one.reason], one.count)
    yield refused


def _broker(process: Process) -> Iterator[Metric]:
    yield _gauge(
        "broker_connected", "Whether the gateway hears its broker.", float(process.connected)
    )
    dropped = CounterMetricFamily(
        PREFIX + "messages_dropped",
        "Messages that found no room: up, without QoS 1; down, to devices.",
        labels=["direction"],
    )
    dropped.add_metric(["up"], process.not_taken)
    dropped.add_metric(["down"], process.not_sent_down)
    yield dropped
    yield _counter(
        "clients_replaced",
        "Times that a hanging MQTT client was replaced.",
        process.clients_replaced,
    )
    yield _counter(
        "connections_lost",
        "Connections to the broker that ended by themselves.",
        process.connections_lost,
    )
    yield _counter(
        "sessions_lost",
        "Sessions that the broker lost, with what waited in them.",
        process.sessions_lost,
    )
    yield _counter(
        "parked_segments_dropped",
        "Segments that came early, of devices that another gateway serves now.",
        process.parked_dropped,
    )
    yield _counter(
        "messages_duplicate",
        "Messages that the broker sent twice on one connection.",
        process.duplicates,
    )


def _store(look: Look) -> Iterator[Metric]:
    disk, totals = look.snapshot.disk, look.snapshot.totals
    yield _gauge("store_used_bytes", "What the store takes.", disk.used_bytes)
    yield _gauge("store_allowed_bytes", "What it may take.", disk.allowed_bytes)
    yield _gauge(
        "store_taking",
        "Whether the store takes records: 0 from 95 % on, or where it fails.",
        float(disk.level in {"ok", "warning"} and not look.snapshot.process.store_error),
    )
    yield _counter("segments", "Segments in the gateway's log.", totals.segments)
    yield _counter("records", "Records in custody, hashed ones included.", totals.records)
    yield _gauge("parked_segments", "Segments that came early.", totals.parked_segments)
    yield _gauge("parked_bytes", "Bytes of segments that came early.", totals.parked_bytes)
    aside = GaugeMetricFamily(
        PREFIX + "quarantined_segments", "Segments set aside, by who did so.", labels=["where"]
    )
    counts: dict[str, int] = {}
    for one in look.snapshot.quarantine:
        counts[one.where] = counts.get(one.where, 0) + one.count
    for where, count in sorted(counts.items()):
        aside.add_metric([where], count)
    yield aside


def _devices(look: Look) -> Iterator[Metric]:
    rows = look.devices
    yield _gauge("devices", "Devices that are known.", len(rows))
    troubles = GaugeMetricFamily(
        PREFIX + "devices_in_trouble", "Devices with a trouble, by trouble.", labels=["trouble"]
    )
    for name in ("forked", "put back", "silent", "clock off", "expiring"):
        count = sum(name in one.trouble for one in rows)
        troubles.add_metric([name.replace(" ", "-")], count)
    yield troubles
    yield _gauge(
        "records_missing", "Indexes missing in devices' logs here.", sum(one.gaps for one in rows)
    )
    left = [one.counter_left for one in rows if one.counter_left is not None]
    if left:
        yield _gauge(
            "counter_left_least", "Counts left in the hardware counter with least.", min(left)
        )


def _validators(rows: list[Validator], now_ms: int) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        PREFIX + "validator_lag_segments",
        "Segments that a validator has not.",
        labels=["validator"],
    )
    wait = GaugeMetricFamily(
        PREFIX + "validator_lag_seconds",
        "How long the oldest segment waits that a validator has not.",
        labels=["validator"],
    )
    refuses = GaugeMetricFamily(
        PREFIX + "validator_refusing", "Whether it answers and says no.", labels=["validator"]
    )
    batches = CounterMetricFamily(
        PREFIX + "validator_batches", "Batches that were answered.", labels=["validator"]
    )
    receipts = GaugeMetricFamily(
        PREFIX + "validator_receipts", "Receipts that are kept here.", labels=["validator"]
    )
    verdicts = GaugeMetricFamily(
        PREFIX + "verdicts", "Verdicts in force, by state.", labels=["validator", "state"]
    )
    circuit = GaugeMetricFamily(
        PREFIX + "validator_circuit_state",
        "The state of its circuit: 1 for the one that it is in.",
        labels=["validator", "state"],
    )
    for one in rows:
        for state in circuits.STATES:
            circuit.add_metric([one.name, state], float(one.circuit == state))
        waits_ms = 0 if one.waits_since_ms is None else max(0, now_ms - one.waits_since_ms)
        lag.add_metric([one.name], one.lag + one.held)
        wait.add_metric([one.name], waits_ms / 1000)
        refuses.add_metric([one.name], float(one.refuses is not None))
        batches.add_metric([one.name], one.batches)
        receipts.add_metric([one.name], one.receipts)
        for state, count in sorted(one.verdicts.items()):
            verdicts.add_metric([one.name, state], count)
    yield from (lag, wait, refuses, batches, receipts, verdicts, circuit)


def _troubles(look: Look) -> Iterator[Metric]:
    holds = {one.name for one in look.status.conditions}
    condition = GaugeMetricFamily(
        PREFIX + "condition", "Whether one of the ten conditions holds.", labels=["condition"]
    )
    for name in conditions.ORDER:
        condition.add_metric([name], float(name in holds))
    yield condition
    ours = [one.until_ms for one in look.snapshot.expiries if one.device is None]
    if ours:
        yield _gauge(
            "expiry_timestamp_seconds",
            "When the first certificate, enrolment or peer file of this gateway ends.",
            min(ours) / 1000,
        )
