"""`tally verify` and `tally inspect`, as a person runs them."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from support.story import Story, disclose, reencode
from tallystick.evidence import cbor
from tallystick.hw.signer import Signer
from verify.test_keyends import changed, fork_of

STORY = Story()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.tally").write_bytes(STORY.evidence().encode())
    (tmp_path / "policy.toml").write_text(STORY.policy)
    return tmp_path


def tally(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tallystick.tools.main import main; main()", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def verify(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return tally(folder, "verify", "x.tally", "--policy", "policy.toml", *more)


def test_it_holds_and_says_what_was_checked_and_what_was_not(folder: Path) -> None:
    done = verify(folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "The policy holds."
    assert lines[-2].startswith("handover@1 order-4711 in dock-3: matched")
    assert any(line.startswith("Checked (") for line in lines)
    assert "  whether the claims are true: that they agree does not show it; " in done.stdout
    assert "receiver.acquired.position_m, within 0.25" in done.stdout
    said = json.loads(verify(folder, "--json").stdout)["claimed"]
    assert len(said) == 2
    assert any(line.startswith("giver released by ") and "item " in line for line in said)


def test_each_check_stands_with_its_sentence_and_the_claims_that_it_read(folder: Path) -> None:
    lines = verify(folder).stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("Checks ("))
    assert lines[at + 1] == "  handover@1 order-4711 in dock-3: matched, by city, insurer, lab"
    assert lines[at + 2] == "    pass: same-item: The values agree."
    read = {line.partition(" by ")[0].strip() for line in lines[at + 3 : at + 5]}
    assert read == {"read: giver.released", "read: receiver.acquired"}
    assert lines[at + 5] == "    pass: same-place: The values agree within 0.25 m."
    (party_set,) = json.loads(verify(folder, "--json").stdout)["party_sets"]
    item, place = party_set["verdicts"][0]["checks"]
    assert (item["result"], item["blamed"], place["name"]) == ("pass", [], "same-place")
    assert len(item["read"]) == len(place["read"]) == 2


ESCAPES = "\x1b]0;owned\x07\x9b31m\u202e"


def test_names_in_a_file_do_not_drive_the_terminal(folder: Path) -> None:
    device = STORY.acme.device("spelt")
    parties = {"giver": [device.id], "receiver": [bytes(32)]}
    device.claim(
        "t", "giver", "released", parties, STORY.profile.digest, namespace="dock" + ESCAPES,
        item=ESCAPES, position_m=[0, 0],
    )  # fmt: skip
    device.seal()
    file = STORY.evidence(note=ESCAPES)
    file.halves.append(disclose(device, 1, embed=True))
    (folder / "x.tally").write_bytes(reencode(file))
    for done in (verify(folder), verify(folder, "--json"), tally(folder, "inspect", "x.tally")):
        assert "dock" in done.stdout
        assert not set("\x1b\x07\x9b\u202e") & set(done.stdout + done.stderr)
    said = json.loads(verify(folder, "--json").stdout)
    assert "dock" + ESCAPES in {one["namespace"] for one in said["party_sets"]}


def test_words_of_a_validator_do_not_drive_the_terminal(folder: Path) -> None:
    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = json.dumps({"reason": "x\x1b[2J", "title": ESCAPES, "status": 400}).encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        asked = ("--interaction", "dock-3/KEvJ2mO2rxGvR3pP0n8yVQ", "--out", "y.tally")
        done = tally(folder, "export", "--validator", url, *asked)
        server.shutdown()
    assert done.returncode == 1
    assert "owned" in done.stderr
    assert not set("\x1b\x07\x9b\u202e") & set(done.stdout + done.stderr)


def test_json_says_the_same(folder: Path) -> None:
    done = verify(folder, "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 0
    assert said["policy"] == "holds"
    assert said["party_sets"][0]["states"] == ["matched"]
    assert len(said["party_sets"][0]["verdicts"]) == 3
    assert all(one["recomputed"] for one in said["party_sets"][0]["verdicts"])
    assert said["tolerances"][-1].endswith("within 0.25")
    assert said["refuted_times"] == said["doubted_times"] == []


def test_a_fork_is_verified_shown_and_refused(folder: Path) -> None:
    story = Story()
    proof = fork_of(story.giver)
    (folder / "x.tally").write_bytes(changed(story.evidence(), forks=[proof.encode()]).encode())
    done = verify(folder)
    assert done.returncode == 1
    assert "it signed two histories of one log" in done.stdout
    assert "is suspect" in done.stdout.splitlines()[-1]
    said = json.loads(verify(folder, "--json").stdout)
    assert said["reason"] == "bad-policy"
    assert said["forks"][0]["sizes"] == [proof.first.size, proof.second.size]
    (folder / "fork.cbor").write_bytes(proof.encode())
    shown = tally(folder, "inspect", "fork.cbor").stdout
    assert "fork proof" in shown
    assert "the two heads contradict each other" in shown


def test_one_changed_byte_is_refused(folder: Path) -> None:
    data = bytearray((folder / "x.tally").read_bytes())
    data[data.index(b"pallet-7") + 7] ^= 1
    (folder / "x.tally").write_bytes(data)
    done = verify(folder)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("Refused: ")
    said = json.loads(verify(folder, "--json").stdout)
    assert said["policy"] == "refused"
    assert said["reason"] == "bad-inclusion-proof"


def test_a_policy_that_is_not_fulfilled_is_refused_with_the_report(folder: Path) -> None:
    (folder / "policy.toml").write_text(STORY.policy.replace("at_least = 2", "at_least = 3"))
    assert verify(folder).returncode == 0
    (folder / "policy.toml").write_text(STORY.policy + '[outcome]\nstates = ["one_sided"]\n')
    done = verify(folder)
    assert done.returncode == 1
    assert "Checked (" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "Refused: handover@1 order-4711 in dock-3 is matched, the policy accepts one_sided "
        "(bad-policy)."
    )


def test_the_time_of_asking_can_be_given(folder: Path) -> None:
    (folder / "policy.toml").write_text('devices.status_age = "2 h"\n' + STORY.policy)
    assert verify(folder, "--at", "1790003600").returncode == 0
    assert verify(folder, "--at", "2026-09-21T15:00:00Z").returncode == 0
    assert verify(folder, "--at", "2026-09-21T17:00:00+00:00").returncode == 1
    done = verify(folder, "--at", "yesterday")
    assert done.returncode == 2
    assert "write it like" in done.stderr


@pytest.mark.parametrize("text", ["", "roots = 1", "\ufeff", "[" * 9000])
def test_a_policy_that_is_none_is_wrong_usage(folder: Path, text: str) -> None:
    (folder / "policy.toml").write_text(text)
    done = verify(folder)
    assert done.returncode == 2
    assert "policy.toml" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_not_there_is_wrong_usage(folder: Path) -> None:
    (folder / "x.tally").unlink()
    done = verify(folder)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x83\x16", b"PK\x03\x04", cbor.encode([22])])
def test_what_is_no_evidence_is_refused(folder: Path, data: bytes) -> None:
    (folder / "x.tally").write_bytes(data)
    done = verify(folder)
    assert done.returncode == 1
    assert done.stdout.startswith("Refused: ")


def test_inspect_shows_a_tree(folder: Path) -> None:
    done = tally(folder, "inspect", "x.tally")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("evidence file, ")
    assert "record: claim" in done.stdout
    assert "not verified: everything in it: `tally verify` does, against a policy" in done.stdout
    said = json.loads(tally(folder, "inspect", "x.tally", "--json").stdout)
    assert said["object"] == "evidence file"


def test_inspect_never_shows_a_key_file(folder: Path) -> None:
    Signer.create(f"file:{folder / 'device.key'}")
    done = tally(folder, "inspect", "device.key")
    assert done.returncode == 1
    assert "never shown" in done.stderr
    assert done.stdout == ""
