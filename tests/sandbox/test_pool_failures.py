"""A sandbox that fails: what is not run is counted and reported, and counts neither as passed nor as failed."""

import os
import signal
import sys

import pytest

from t2c_jax import console
from t2c_jax.errors import UserError
from t2c_jax.sandbox import ladder, pool
from t2c_jax.sandbox.ladder import Rung, Unavailable
from t2c_jax.sandbox.languages import LANGUAGES
from t2c_jax.sandbox.outcomes import Outcome, Program
from t2c_jax.sandbox.pool import Sandbox
from t2c_jax.sandbox.server import boot


def kill(server):
    os.kill(server._process.pid, signal.SIGKILL)
    server._process.wait()


def test_a_program_whose_server_dies_runs_again():
    with Sandbox.open(workers=1) as sandbox:
        kill(sandbox._servers[0])
        assert [each.status for each in sandbox.run([Program("python", "x = 1")] * 2)] == ["passed", "passed"]
        assert sandbox.not_run == 0


def test_programs_are_not_run_where_no_server_starts_again(monkeypatch, capsys):
    with Sandbox.open(workers=2) as sandbox:
        outcomes = sandbox.run([Program("python", "x = 1")] * 10)
        assert next(outcomes).status == "passed"
        monkeypatch.setattr(boot, "command", lambda: [sys.executable, "-c", "raise SystemExit('gone')"])
        for server in sandbox._servers:
            kill(server)
        rest = list(outcomes)
        assert len(rest) == 9
        lost = [each for each in rest if each.status == "not_run"]
        assert lost
        assert all("gone" in each.reason or "too many attempts" in each.reason for each in lost)
        assert sandbox.not_run == len(lost)
    assert f"{len(lost)} programs, which were not run" in capsys.readouterr().err


def test_a_run_that_is_abandoned_leaves_nothing_to_the_next():
    with Sandbox.open(workers=1) as sandbox:
        for _ in sandbox.run([Program("python", f"print({n})") for n in range(3)]):
            break
        assert [each.stdout for each in sandbox.run([Program("python", "print('next')")])] == ["next\n"]


def test_an_unknown_language_and_a_missing_one_are_not_run(monkeypatch):
    monkeypatch.setattr(LANGUAGES["javascript"], "missing", lambda: "node (apt install nodejs)")
    programs = [Program("cobol", ""), Program("javascript", ""), Program("python", "")]
    programs += [Program("python", "", files={name: ""}) for name in ("/etc/x", "../x", "a/../../x")]
    with Sandbox.open(workers=1) as sandbox:
        outcomes = list(sandbox.run(programs))
    assert [each.status for each in outcomes] == ["not_run", "not_run", "passed", *["not_run"] * 3]
    assert "bash" in outcomes[0].reason
    assert "apt install nodejs" in outcomes[1].reason


def refusing(reason):
    def probe(rung, program):
        raise Unavailable(reason)

    return probe


def test_a_machine_without_isolation_is_refused_with_reason_remedy_and_flag():
    with pytest.raises(UserError) as error:
        ladder.choose(refusing("not permitted"), risk_accepted=False)
    message = str(error.value)
    for part in ("namespaces: not permitted", "bubblewrap:", "landlock:", ladder.remedy(), ladder.RISK_FLAG):
        assert part in message


def test_the_risk_can_be_accepted():
    assert ladder.choose(refusing("not permitted"), risk_accepted=True) is ladder.NONE


def test_a_rung_that_lets_a_program_out_is_not_chosen(monkeypatch, tmp_path):
    """The probe runs here without any isolation: it must find that out."""

    monkeypatch.chdir(tmp_path)

    def probe(rung, program):
        lines = []
        exec(program.source, {"print": lines.append})
        return Outcome("passed", 0, "".join(f"{line}\n" for line in lines), "", 0.0)

    with pytest.raises(Unavailable, match="reads a file outside, writes a file outside, reaches the network"):
        ladder.attempt(ladder.NAMESPACES, probe)


@pytest.mark.parametrize(
    ("settings", "files", "wanted"),
    [
        ({"apparmor_restrict_unprivileged_userns": "1"}, (), "bwrap-userns-restrict"),
        ({}, ("/.dockerenv",), "seccomp=unconfined"),
        ({"max_user_namespaces": "0"}, (), "sysctl user.max_user_namespaces=10000"),
        ({}, (), "install bubblewrap"),
    ],
)
def test_the_remedy_fits_the_machine(monkeypatch, settings, files, wanted):
    monkeypatch.setattr(ladder, "_setting", lambda path: settings.get(path.rpartition("/")[2], ""))
    monkeypatch.setattr(os.path, "exists", lambda path: path in files)
    assert wanted in ladder.remedy()


def test_the_isolation_is_named_once(monkeypatch):
    said = []
    monkeypatch.setattr(console, "say", said.append)
    monkeypatch.setattr(pool, "_said", set())
    rung = Rung("namespaces", "of a test")
    pool._say_once(rung)
    pool._say_once(rung)
    assert said == ["sandbox: namespaces (of a test)"]
