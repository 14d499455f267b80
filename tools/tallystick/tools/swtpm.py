"""A real software TPM 2.0 of one's own (swtpm), on loopback, for the tests and `tally replay`.

It is a TPM in all but one thing: whoever reads its folder has its keys.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tallystick.evidence.errors import TransportError
from tallystick.tools._cache import ToolMissing
from tallystick.tools._daemon import LOG_LINES_SHOWN, Daemon
from tallystick.tools._ports import HOST, free_port

SETUP_TIMEOUT_S = 120


def find(program: str = "swtpm") -> str:
    """The path of `swtpm` or `swtpm_setup`.

    :raises ToolMissing: it is not installed.
    """
    found = shutil.which(program)
    if found is None:
        package = "swtpm" if program == "swtpm" else "swtpm-tools"
        message = f"{program} is not installed; install the package {package}"
        raise ToolMissing("no-swtpm", message)
    return found


class Swtpm(Daemon):
    """One software TPM: `start`, `stop` (SIGTERM), `kill` (as pulling it out); a context manager.

    Its state lives in `folder`, so a TPM started again there has its keys and counters.
    `.tcti` is where it is, for a URI: `f"tpm2:handle=0x81020001;tcti={tpm.tcti}"`.
    """

    name = "swtpm"
    failed = "swtpm-failed"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        # The control channel is one above.
        super().__init__(folder, port or free_port(2), "swtpm.log")

    @property
    def tcti(self) -> str:
        """The TCTI string; the library finds the control channel one port above."""
        return f"swtpm:host={HOST},port={self.port}"

    def command(self) -> list[str]:
        """As Daemon's."""
        where = f"bindaddr={HOST}"
        command = [find(), "socket", "--tpm2", "--tpmstate", f"dir={self.folder}"]
        command += ["--server", f"type=tcp,port={self.port},{where}"]
        command += ["--ctrl", f"type=tcp,port={self.port + 1},{where}"]
        return [*command, "--flags", "not-need-init,startup-clear"]

    def make_certificates(self) -> Path:
        """Make endorsement keys with certificates, before the first start, as a TPM's maker does.

        Returns a PEM file with the certificates of the CA, made in the folder too.

        :raises ToolMissing: swtpm_setup is not installed.
        :raises TransportError: it failed; its last words follow.
        """
        folder = self.folder / "maker"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "options").write_text("")
        (folder / "localca.conf").write_text(
            f"statedir = {folder}\nsigningkey = {folder}/signkey.pem\n"
            f"issuercert = {folder}/issuercert.pem\ncertserial = {folder}/certserial\n"
        )
        (folder / "setup.conf").write_text(
            f"create_certs_tool = {find('swtpm_localca')}\n"
            f"create_certs_tool_config = {folder}/localca.conf\n"
            f"create_certs_tool_options = {folder}/options\n"
            "active_pcr_banks = sha256\n"
        )
        command = [find("swtpm_setup"), "--tpm2", "--tpm-state", str(self.folder), "--overwrite"]
        command += ["--create-ek-cert", "--config", f"{folder}/setup.conf"]
        if os.getuid() == 0:
            # Started by root it would become a user that may not write here.
            command += ["--runas", "root"]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=SETUP_TIMEOUT_S,
        )
        if done.returncode:
            lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
            said = "; ".join(lines[-LOG_LINES_SHOWN:])
            raise TransportError("swtpm-failed", f"swtpm_setup failed: {said}")
        chain = folder / "ca.pem"
        parts = [folder / "issuercert.pem", folder / "swtpm-localca-rootca-cert.pem"]
        chain.write_text("".join(part.read_text() for part in parts))
        return chain

    def pause(self) -> None:
        """Let it answer nothing, until `resume`."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self.send(signal.SIGCONT)
