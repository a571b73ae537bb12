"""launch/tpu_vm.sh and what it runs on the workers, with a stand-in for gcloud that can lose TPUs."""

import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from stand_ins import calls, executable, recorder, run

TPU = ("--name", "my-tpu", "--zone=us-east5-b")
SPOT = (*TPU, "--spot", "--workdir", "gs://bucket/runs/a")

# Beside its record: the TPU's states in turn in "state" and "queued", the number of workers in "workers". A line
# "STATUS STATE MESSAGE" in "fail.ACTION" is what happens at the next such call: it leaves the TPU in that state.
GCLOUD = r"""
case "$3 $4 $*" in
  *_worker.sh\ *) action="$*"; action="${action##*_worker.sh }"; action="${action%% *}" ;;
  *) action="$4" ;;
esac
if line="$(take "fail.$action")"; then
  read -r status state message <<<"$line"
  [ "$state" = - ] || echo "$state" >"$ANSWERS/state"
  echo "$message" >&2
  exit "$status"
fi
case "$3 $4 $*" in
  *describe*networkEndpoints*) cat "$ANSWERS/workers" 2>/dev/null || echo 1 ;;
  tpu-vm\ describe*) peek state ;;
  queued-resources\ describe*) peek queued ;;
  tpu-vm\ create*) echo READY >"$ANSWERS/state" ;;
  queued-resources\ create*)
    printf 'WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\n' >"$ANSWERS/queued"
    echo READY >"$ANSWERS/state"
    ;;
  *\ delete*) rm -f "$ANSWERS/state" "$ANSWERS/queued" ;;
esac"""


@pytest.fixture
def answers(commands: Path) -> Path:
    """The directory of what the stand-in for gcloud answers."""
    recorder(commands / "gcloud", GCLOUD)
    return commands.parent


def tpu(checkout: Path, commands: Path, *words: str) -> subprocess.CompletedProcess[str]:
    temporary = commands.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    done = run("bash", "launch/tpu_vm.sh", *words, cwd=checkout, commands=commands, TMPDIR=str(temporary))
    assert not list(temporary.iterdir()), "it cleans up after itself"
    return done


def actions(commands: Path) -> list[str]:
    """The calls of gcloud but for describe, each by its verb, or by what it runs on a worker."""
    found = []
    for call in calls(commands, "gcloud"):
        remote = shlex.split(call[-1].removeprefix("--command=")) if call[3] == "ssh" else []
        found.append(remote[remote.index("t2c_jax/launch/_worker.sh") + 1] if remote else call[3])
    return [action for action in found if action != "describe"]


FIRST = ["create", "scp", "install", "start", "follow"]


def test_dry_run_prints_every_command_and_runs_none(checkout: Path, commands: Path, answers: Path):
    done = tpu(
        checkout,
        commands,
        *(*TPU, "--dry-run", "--spot", "--workdir", "gs://bucket/runs/a b"),
        *("--", "--config.data.prefix=it's $HOME"),
    )
    assert done.returncode == 0, done.stderr
    assert not calls(commands, "gcloud")
    create, tar, scp, install, start, follow = (shlex.split(line) for line in done.stdout.splitlines())
    assert create[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "create", "my-tpu"]
    assert create[6:] == ["--zone=us-east5-b", "--version=v2-alpha-tpuv6e", "--accelerator-type=v6e-8", "--spot"]
    assert tar[:2] == ["tar", "-czf"]
    assert tar[-3:] == ["-C", str(checkout), "."]
    assert scp[4:7] == ["scp", tar[2], "my-tpu:t2c.tar.gz"]
    assert all("--worker=all" in command for command in (scp, install, start))
    assert "--worker=0" in follow
    assert install[-1].endswith("bash t2c_jax/launch/_worker.sh install tpu,gs")
    remote = shlex.split(start[-1].removeprefix("--command="))
    assert remote == [
        *("bash", "t2c_jax/launch/_worker.sh", "start", "--config", "configs/quickstart.py"),
        *("--workdir", "gs://bucket/runs/a b", "--config.data.prefix=it's $HOME"),
    ]


def test_without_gcloud_only_a_dry_run(checkout: Path, commands: Path, tmp_path: Path):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("bash", "dirname", "basename", "mktemp", "rm"):
        (few / name).symlink_to(shutil.which(name) or "")
    words = ("bash", "launch/tpu_vm.sh", *TPU, "--queued")
    done = run(*words, "--dry-run", cwd=checkout, commands=commands, PATH=str(few))
    assert done.returncode == 0
    assert done.stdout.startswith(
        "gcloud compute tpus queued-resources create my-tpu --zone=us-east5-b --node-id=my-tpu"
    )
    done = run(*words, cwd=checkout, commands=commands, PATH=str(few))
    assert (done.returncode, done.stderr) == (2, "error: gcloud is not on PATH; install the Google Cloud CLI\n")


def test_a_run_creates_copies_installs_starts_and_follows(checkout: Path, commands: Path, answers: Path):
    (checkout / ".venv/bin").mkdir(parents=True)
    executable(commands / "tar", f'/usr/bin/tar "$@"; cp "$2" {shlex.quote(str(answers))}/sent.tar.gz')
    done = tpu(checkout, commands, *TPU, "--project", "mine")
    assert done.returncode == 0, done.stderr
    assert actions(commands) == FIRST
    found = calls(commands, "gcloud")
    assert all({"--zone=us-east5-b", "--project=mine"} <= set(call) for call in found)
    listed = subprocess.run(["tar", "-tzf", answers / "sent.tar.gz"], capture_output=True, text=True, check=True).stdout
    assert "./launch/_worker.sh\n" in listed
    assert ".venv" not in listed
    assert "--workdir runs/quickstart" in found[-2][-1]
    assert "bash launch/tpu_vm.sh --name my-tpu --zone=us-east5-b --project=mine --delete" in done.stderr


def test_an_existing_tpu_is_used(checkout: Path, commands: Path, answers: Path):
    (answers / "state").write_text("STARTING\nREADY\n")
    assert "waiting for my-tpu: STARTING" in tpu(checkout, commands, *TPU).stderr
    assert actions(commands) == FIRST[1:]


def test_several_workers_need_a_bucket(checkout: Path, commands: Path, answers: Path):
    (answers / "workers").write_text("4\n")
    done = tpu(checkout, commands, *TPU, "--accelerator-type", "v6e-16")
    assert done.returncode == 2
    assert "my-tpu has 4 workers, which share one workdir: give --workdir gs://BUCKET/PATH" in done.stderr
    assert actions(commands) == ["create"]


def test_a_queued_resource_is_waited_for(checkout: Path, commands: Path, answers: Path):
    done = tpu(checkout, commands, *TPU, "--queued", "--accelerator-type=v5p-8")
    assert done.returncode == 0
    assert actions(commands) == FIRST
    assert [line for line in done.stderr.splitlines() if "waiting" in line] == [
        "waiting for my-tpu: WAITING_FOR_RESOURCES",
        "waiting for my-tpu: PROVISIONING",
    ]
    (create,) = (call for call in calls(commands, "gcloud") if call[3] == "create")
    assert create[2:5] == ["queued-resources", "create", "my-tpu"]
    assert {"--node-id=my-tpu", "--runtime-version=v2-alpha-tpuv5", "--accelerator-type=v5p-8"} <= set(create)


def test_a_request_that_failed_is_not_tried_again(checkout: Path, commands: Path, answers: Path):
    (answers / "queued").write_text("FAILED\n")
    done = tpu(checkout, commands, *TPU, "--queued")
    assert (done.returncode, actions(commands)) == (2, [])
    assert "my-tpu is FAILED; --delete it and try again" in done.stderr


def test_without_quota_it_ends_with_the_message_of_gcloud(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.create").write_text("1 - Quota limit 'TPUV6EPerProject' has been exceeded.\n")
    done = tpu(checkout, commands, *TPU)
    assert (done.returncode, actions(commands)) == (2, ["create"])
    assert done.stderr.splitlines()[-2:] == [
        "Quota limit 'TPUV6EPerProject' has been exceeded.",
        "error: gcloud could not create my-tpu; --queued waits for capacity",
    ]


def test_nothing_is_created_if_gcloud_cannot_list(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.describe").write_text("1 - PERMISSION_DENIED\n")
    done = tpu(checkout, commands, *TPU)
    assert (done.returncode, done.stderr, actions(commands)) == (1, "PERMISSION_DENIED\n", [])


@pytest.mark.parametrize("lost", ["PREEMPTED", "TERMINATED"])
def test_a_preempted_tpu_is_replaced(checkout: Path, commands: Path, answers: Path, lost: str):
    (answers / "fail.follow").write_text(f"255 {lost} connection closed\n")
    done = tpu(checkout, commands, *SPOT)
    assert done.returncode == 0, done.stderr
    assert actions(commands) == [*FIRST, "delete", *FIRST]
    assert f"my-tpu is {lost}: replacing it" in done.stderr


def test_a_preempted_queued_resource_is_replaced_once_it_is_suspended(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.follow").write_text("255 PREEMPTED connection closed\n")
    executable(commands / "sleep", f'[ -s "{answers}/fail.follow" ] || [ -f "{answers}/again" ] || '
               f'{{ touch "{answers}/again"; printf "SUSPENDING\\nSUSPENDED\\n" >"{answers}/queued"; }}')  # fmt: skip
    done = tpu(checkout, commands, *SPOT, "--queued")
    assert done.returncode == 0, done.stderr
    assert actions(commands) == [*FIRST, "delete", *FIRST]
    assert [call[2] for call in calls(commands, "gcloud") if call[3] in ("create", "delete")] == [
        "queued-resources"
    ] * 3


def test_a_replacement_is_requested_until_there_is_one(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.follow").write_text("255 PREEMPTED connection closed\n")
    executable(commands / "sleep", f'cd "{answers}" && [ -f asked ] || '
               '{ touch asked; printf "1 - no more capacity\\n1 - no more capacity\\n" >fail.create; }')  # fmt: skip
    (answers / "state").write_text("READY\n")
    done = tpu(checkout, commands, *SPOT)
    assert done.returncode == 0, done.stderr
    assert actions(commands) == [*FIRST[1:], "delete", "create", "create", *FIRST]


def test_a_tpu_lost_while_it_is_made_ready(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.install").write_text("255 PREEMPTED connection closed\n")
    assert tpu(checkout, commands, *SPOT).returncode == 0
    assert actions(commands) == ["create", "scp", "install", "delete", *FIRST]


@pytest.mark.parametrize("status", [75, 134, 137, 143])
def test_a_run_that_asks_for_it_is_started_again(checkout: Path, commands: Path, answers: Path, status: int):
    (answers / "fail.follow").write_text(f"{status} - \n" * 2)
    done = tpu(checkout, commands, *TPU)
    assert done.returncode == 0, done.stderr
    assert actions(commands) == [*FIRST, *["stop", "start", "follow"] * 2]
    stop = next(call for call in calls(commands, "gcloud") if call[-1].endswith("stop"))
    assert "--worker=all" in stop


def test_not_more_often_than_allowed(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.follow").write_text("75 - \n" * 9)
    done = tpu(checkout, commands, *TPU, "--restarts", "1")
    assert done.returncode == 75
    assert actions(commands) == [*FIRST, "stop", "start", "follow"]
    assert done.stderr.splitlines()[-1] == "the run ended with 75; --restarts is used up"


@pytest.mark.parametrize("status", [1, 2, 130])
def test_a_run_that_failed_is_not(checkout: Path, commands: Path, answers: Path, status: int):
    (answers / "fail.follow").write_text(f"{status} - \n")
    assert tpu(checkout, commands, *TPU, "--restarts=9").returncode == status
    assert actions(commands) == FIRST


def test_a_lost_connection_is_resumed(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.follow").write_text("255 - connection closed\n")
    assert tpu(checkout, commands, *TPU).returncode == 0
    assert actions(commands) == [*FIRST, "follow"]
    first, second = (call[-1] for call in calls(commands, "gcloud") if "follow" in call[-1])
    assert first.endswith("follow +1"), "all of the log"
    assert second.endswith("follow 20")


def test_copying_is_tried_until_the_workers_answer(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.scp").write_text("255 - refused\n1 - refused\n")
    assert tpu(checkout, commands, *TPU).returncode == 0
    assert actions(commands) == ["create", "scp", "scp", *FIRST[1:]]
    (answers / "fail.scp").write_text("255 - refused\n" * 20)
    done = tpu(checkout, commands, *TPU)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "error: the workers of my-tpu do not answer")


def test_delete_and_follow_do_nothing_else(checkout: Path, commands: Path, answers: Path):
    (answers / "fail.follow").write_text("7 - \n")
    tpu(checkout, commands, *TPU, "--delete")
    tpu(checkout, commands, *TPU, "--delete", "--queued")
    assert tpu(checkout, commands, *TPU, "--follow", "--worker", "3").returncode == 7
    found = calls(commands, "gcloud")
    assert [call[2:5] for call in found] == [
        ["tpu-vm", "delete", "my-tpu"],
        ["queued-resources", "delete", "my-tpu"],
        ["tpu-vm", "ssh", "my-tpu"],
    ]
    assert "--force" in found[1], "the TPU goes with its request"
    assert "--worker=3" in found[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--name and --zone are needed"),
        (["--name"], "--name needs a value"),
        ([*TPU, "--nmae", "x"], "unknown argument '--nmae'; arguments for t2c run come after --"),
        ([*TPU, "--config", "configs/none.py"], "--config configs/none.py is not a file of this checkout"),
        ([*TPU, "--accelerator-type", "v9-8"], "unknown accelerator type v9-8; give --runtime-version"),
        ([*TPU, "--spot"], "a --spot TPU loses its disk when it is preempted: give --workdir gs://BUCKET/PATH"),
        ([*TPU, "--restarts=many"], "--restarts has to be an integer of at least 0, not many"),
    ],
)
def test_mistakes(checkout: Path, commands: Path, answers: Path, words: list[str], message: str):
    done = tpu(checkout, commands, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not calls(commands, "gcloud")


def worker(checkout: Path, commands: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = checkout / "launch" / "_worker.sh"
    return run("bash", script, *words, cwd=checkout.parent, commands=commands, **environment)


def test_a_worker_starts_a_run_once_and_follows_it_to_its_status(checkout: Path, commands: Path):
    wait = "while [ ! -f ../go ]; do sleep 0.05; done; exit 5"
    executable(checkout / ".venv/bin/t2c", f'printf "<%s>" "$@"; echo; {wait}')
    arguments = ("--config", "configs/quickstart.py", "--config.data.prefix=it's $HOME")
    assert worker(checkout, commands, "start", *arguments).returncode == 0
    assert worker(checkout, commands, "start", *arguments).stderr == "a run is already running here\n"
    (checkout.parent / "go").touch()
    done = worker(checkout, commands, "follow", "+1")
    assert done.returncode == 5
    assert done.stdout == "<run><--config><configs/quickstart.py><--config.data.prefix=it's $HOME>\n"


def wait_for(path: Path) -> None:
    subprocess.run(["timeout", "20", "bash", "-c", 'until [ -e "$0" ]; do sleep 0.02; done', path], check=True)


def test_a_worker_stops_a_run_that_saves(checkout: Path, commands: Path):
    home = checkout.parent
    saves = "trap 'sleep 0.1; echo saved; exit 143' TERM; touch ../up; while :; do sleep 0.02; done"
    executable(checkout / ".venv/bin/t2c", saves)
    worker(checkout, commands, "start")
    wait_for(home / "up")
    assert worker(checkout, commands, "stop").returncode == 0
    done = worker(checkout, commands, "follow", "+1")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (128 + signal.SIGTERM, "saved")
    assert worker(checkout, commands, "stop").returncode == 0, "nothing to stop"


def test_a_worker_ends_a_run_that_hangs(checkout: Path, commands: Path):
    executable(checkout / ".venv/bin/t2c", "trap '' TERM; touch ../up; while :; do sleep 0.02; done")
    worker(checkout, commands, "start")
    wait_for(checkout.parent / "up")
    assert worker(checkout, commands, "stop", T2C_GRACE_SECONDS="0").returncode == 0
    # Nobody was left to write a status, as after a reboot: to be started again.
    assert worker(checkout, commands, "follow", "0").returncode == 75


def test_a_worker_without_a_run_has_none_to_follow(checkout: Path, commands: Path):
    done = worker(checkout, commands, "follow", "+1")
    assert (done.returncode, done.stderr) == (2, "error: no run was started here\n")
