"""Open files: each connection is one, and a process has 1,024 unless somebody raises it."""

import resource

from tallystick.tools.bench.result import BenchFailed

# What a program has open beside its connections.
SPARE_FILES = 128


def allow(connections: int) -> None:
    """Let this process, and those that it starts, have so many connections open.

    :raises BenchFailed: the machine does not let us, and what to do.
    """
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        message = (
            f"{connections} connections need {needed} open files, and {hard} are the most that a "
            f"process may have here (RLIMIT_NOFILE); raise it (`ulimit -Hn {needed}` as root, "
            "LimitNOFILE= of a systemd unit, nofile in /etc/security/limits.conf) or give fewer "
            "--devices"
        )
        raise BenchFailed("bench-failed", message)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
