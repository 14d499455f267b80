# The interface of an uplink: a link that may lose, repeat or delay what it was given.

from tallystick.evidence.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.recorder.pacing import Bucket

DRIVERS = {"mqtt": ("mqtt_paho", "mqtt_umqtt"), "mqtts": ("mqtt_paho", "mqtt_umqtt")}


class Uplink:
    """`connected` now; `session` is raised by one with each connection.

    Nothing here waits for the network. What takes longer is moved on by step().
    """

    connected = False
    session = 0
    # A connection is being made; a message is still being handed over.
    opening = False
    busy = False
    # The bandwidth limit, where there is one: asked before a segment by who sends it, and within
    # one by an uplink that sends it in parts; the uplink says what it took.
    bucket: "Bucket | None" = None
    # When the other end's certificate is valid, in seconds since 1970, where that was not checked
    # because this device does not know the time.
    undated: "tuple[int, int] | None" = None

    def connect(self) -> None:
        """Connect, or begin to; TransportError when it fails at once."""

    def step(self) -> bool:
        """A bounded piece of what was begun; False when there is none. TransportError ends it."""
        return False

    def publish(self, message: bytes) -> bool:
        """As publish_pieces."""
        return self.publish_pieces(len(message), (message,))

    def publish_pieces(self, size: int, pieces: "Iterable[bytes]") -> bool:  # noqa: ARG002  # theirs
        """Hand a message of `size` bytes to the link, which promises nothing; False: not now.

        `busy` until the last of the pieces was taken.
        """
        raise TransportError("no-uplink", "an uplink must say how it publishes %d bytes" % size)

    def receive(self) -> bytes | None:
        """The next message, or None."""
        raise TransportError("no-uplink", "an uplink must say how it receives")

    def refresh(self) -> None:
        """Nothing has come back for long: give this connection up, to be made anew."""
        self.connected = False

    def close(self) -> None:
        """Give the link back."""


def open_uplink(
    config: "dict[str, object]", device: str, topics: "tuple[str, str] | None" = None
) -> Uplink:
    """The uplink that a configuration names; its driver is loaded now.

    `topics`: (up, down) of MQTT, where they are not those of section 3.3.
    """
    import sys  # noqa: PLC0415  # costs heap

    scheme = str(config["uplink"]).split(":")[0]
    if scheme == "serial":
        from tallystick.recorder.serial_uplink import Serial  # noqa: PLC0415  # where it is used

        return Serial(config, device)
    name = DRIVERS[scheme][sys.implementation.name == "micropython"]
    driver = __import__("tallystick.recorder." + name, None, None, ("Mqtt",))
    uplink: Uplink = driver.Mqtt(config, device, topics)
    return uplink
