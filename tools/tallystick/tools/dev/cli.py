"""`tally dev`: broker, gateway and validator in one process, and what comes, as it comes."""

import logging
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
import structlog
from rich.console import Console

from tallystick.evidence.errors import TallyError
from tallystick.gateway import config as gateway_config
from tallystick.gateway import service as gateway_service
from tallystick.gateway import status as gateway_status
from tallystick.gateway.config import Config as GatewayConfig
from tallystick.gateway.following import Following
from tallystick.gateway.watchdog import Hang
from tallystick.tools._ending import begin_again, end_at_once
from tallystick.tools._exact import encoded
from tallystick.tools._interrupt import until_signalled
from tallystick.tools._screen import screen
from tallystick.tools.api import ValidatorApi
from tallystick.tools.dev import place as places
from tallystick.tools.dev.place import DEADLINE_S, Place
from tallystick.tools.dev.show import Show, Shown
from tallystick.tools.embedded_broker import EmbeddedBroker
from tallystick.tools.running import Service, Services
from tallystick.validator import config as validator_config
from tallystick.validator import service as validator_service

START_S_MAX = 60.0
LOOK_S = 0.2
ROBOTS = ("robot-1", "robot-2")
FOLDER = Path("tally-dev")
HARMLESS = "replayed"
PATH = click.Path(path_type=Path, file_okay=False)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  tally dev                     then, in another terminal: python tally-dev/first.py
  tally dev --robot arm --robot cart
  tally dev robot arm           another robot, also while it runs
  tally dev --temporary --json
""",
)
@click.option(
    "--folder",
    type=PATH,
    default=FOLDER,
    show_default=True,
    help="Keys, journals and stores; kept between runs.",
)
@click.option("--temporary", is_flag=True, help="A folder that is gone afterwards.")
@click.option(
    "--robot",
    "robots",
    multiple=True,
    default=ROBOTS,
    show_default=True,
    help="Enrolled where it is new; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="One object a line, for scripts.")
@click.pass_context
def dev(
    context: click.Context,
    folder: Path,
    temporary: bool,  # noqa: FBT001 - click passes flags by name
    robots: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Run a site for development: broker, gateway and validator in one process, on loopback.

    Prints each decision and claim once the gateway has it, and each verdict, until Ctrl-C. Robots
    keep their keys in files here. Deadlines of profiles are seconds. Never run a site on it.
    """
    if context.invoked_subcommand is not None:
        return
    stop = until_signalled()
    # Services say what they do to operators; here only what goes wrong, beside the news.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    with ExitStack() as stack:
        if temporary:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="tally-dev-"))
            folder = Path(made)
        stack.enter_context(places.alone(folder))
        place = places.made(folder)
        for name in robots:
            place.robot(name)
        stack.enter_context(EmbeddedBroker(place.broker_port))
        gateway = gateway_config.load(place.gateway)
        services = stack.enter_context(
            Services(_services(place, gateway, end_at_once if temporary else begin_again))
        )
        _until_ready(place, gateway, services, stop)
        if not stop.is_set():
            following = Following(gateway.store)
            stack.callback(following.close)
            news = News(as_json=as_json)
            news.begin(place)
            _follow(place, following, services, news, stop)
    click.echo("stopped", err=True)


@dev.command(
    epilog="""\b
Examples:
  tally dev robot arm
  tally dev robot arm --folder tally-dev
""",
    short_help="Enrol a robot, also while `tally dev` runs.",
)
@click.argument("name")
@click.option("--folder", type=PATH, default=FOLDER, show_default=True, help="As of `tally dev`.")
def robot(name: str, folder: Path) -> None:
    """Enrol the robot NAME, also while `tally dev` runs, and say how a program opens it."""
    place = places.opened(folder)
    place.robot(name)
    click.echo(how(place, name))


def how(place: Place, name: str) -> str:
    """The line that points a program at the site."""
    return f'tally = Recorder.open("{place.config(name)}")'


class News:
    """Prints what came."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console: Console = screen()

    def begin(self, place: Place) -> None:
        """Say how to point a robot here."""
        robots = [member.label for member in place.robots()]
        first = place.first_program(robots).resolve() if len(robots) > 1 else None
        if self._as_json:
            self._object(
                {
                    "what": "ready",
                    "broker": place.broker,
                    "validator": f"http://{place.bind}",
                    "robots": {name: str(place.config(name)) for name in robots},
                    "first": None if first is None else str(first),
                }
            )
            return
        say = self._console.print
        say(f"broker {place.broker}, validator http://{place.bind}", markup=False)
        for name in robots:
            say(f"{name}: {how(place, name)}", markup=False, soft_wrap=True)
        if first is not None:
            say(f"try it: python {first}", markup=False, soft_wrap=True)
        say(f"a claim waits {DEADLINE_S} s for the other party; Ctrl-C ends this")

    def tell(self, shown: Shown) -> None:
        """One line, at once, also into a pipe."""
        if self._as_json:
            self._object({"time_ms": time.time_ns() // 1_000_000, **shown.fields})
            return
        self._console.print(time.strftime("%H:%M:%S "), shown.line, sep="", soft_wrap=True)
        self._console.file.flush()

    @staticmethod
    def _object(fields: dict[str, object]) -> None:
        click.echo(encoded(fields).decode())


def _services(place: Place, gateway: GatewayConfig, ends: Callable[[Hang], None]) -> list[Service]:
    validator = validator_config.load(place.validator)
    return [
        Service("validator", lambda stop: validator_service.run(validator, stop)),
        Service("gateway", lambda stop: gateway_service.run(gateway, stop, ends=ends)),
    ]


def _until_ready(
    place: Place, gateway: GatewayConfig, services: Services, stop: threading.Event
) -> None:
    end = time.monotonic() + START_S_MAX
    with ValidatorApi(f"http://{place.bind}") as api:
        while not stop.wait(LOOK_S):
            services.check()
            if gateway.store.exists() and api.ready() and _connected(gateway):
                return
            if time.monotonic() > end:
                message = f"gateway and validator did not start in {START_S_MAX:.0f} s"
                raise TallyError("service-failed", message)


def _connected(gateway: GatewayConfig) -> bool:
    state = gateway_status.status(gateway)["process"]
    return bool(state.get("running") and state.get("connected"))


def _follow(
    place: Place, following: Following, services: Services, news: News, stop: threading.Event
) -> None:
    show = Show(place)
    while not stop.wait(LOOK_S):
        services.check()
        for one in following.records():
            news.tell(show.taken(one))
        for validator, data in following.verdicts():
            news.tell(show.verdict(validator, data))
        for refusal in following.refusals():
            # What came twice was answered as before; nothing is wrong with it.
            if refusal.reason != HARMLESS:
                news.tell(show.refusal(refusal))
