"""launch/gke.sh, with stand-ins for xpk and kubectl."""

import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from stand_ins import calls, executable, recorder, run

CLUSTER = ("--name=my-run", "--cluster=c", "--zone=us-east5-b")
RUN = (*CLUSTER, "--image=gcr.io/p/t2c:tpu", "--workdir=/data/runs/a")
TPU = (*RUN, "--tpu-type=v6e-16")

# The pods' names in turn in "pods", the JobSet's states in "states"; for a pod's log a line "STATUS TEXT" in "logs".
KUBECTL = r"""
case "$1 $2" in
  "get pods") peek pods ;;
  "get jobset") peek states ;;
  "logs "*) read -r status text <<<"$(take logs)"; echo "$text"; exit "$status" ;;
esac"""


@pytest.fixture
def answers(commands: Path) -> Path:
    """The directory of what the stand-in for kubectl answers."""
    recorder(commands / "xpk")
    recorder(commands / "kubectl", KUBECTL)
    (commands.parent / "pods").write_text("pod/my-run-slice-job-0-0-abcde\n")
    (commands.parent / "states").write_text("Completed\n")
    (commands.parent / "logs").write_text("0 step 1\n")
    return commands.parent


def gke(checkout: Path, commands: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("bash", "launch/gke.sh", *words, cwd=checkout, commands=commands)


def test_dry_run_prints_every_command_and_runs_none(checkout: Path, commands: Path, answers: Path):
    words = ("--project=p", "--slices=2", "--storage=bucket", "--dry-run", "--", "--config.data.prefix=a b")
    done = gke(checkout, commands, *TPU, *words)
    assert done.returncode == 0, done.stderr
    assert not calls(commands, "xpk")
    assert not calls(commands, "kubectl")
    create, pods, logs, state = (shlex.split(line) for line in done.stdout.splitlines())
    assert create == [
        *("xpk", "workload", "create", "--workload=my-run", "--cluster=c", "--zone=us-east5-b", "--project=p"),
        *("--tpu-type=v6e-16", "--num-slices=2", "--max-restarts=100", "--restart-on-exit-codes=75"),
        *("--termination-grace-period-seconds=120", "--docker-image=gcr.io/p/t2c:tpu"),
        "--command=exec t2c run --config configs/quickstart.py --workdir /data/runs/a '--config.data.prefix=a b'",
        "--storage=bucket",
    ]
    assert pods[:3] == ["kubectl", "get", "pods"]
    assert "--container=jax-tpu" in logs
    assert state[:4] == ["kubectl", "get", "jobset", "my-run"]


def shell_of_a_pod(command: str, directory: Path, **environment: str) -> subprocess.Popen[str]:
    """The shell that xpk 1.16 wraps a command in, as far as signals and statuses go."""
    return subprocess.Popen(
        [
            *("bash", "-c"),
            f"trap '(kill -SIGTERM $! 2>/dev/null;)' SIGTERM\n({command}) & PID=$!;\n"
            "while kill -0 $PID 2>/dev/null; do sleep 0.05; done; wait $PID; exit $?",
        ],
        env={"PATH": f"{directory}:/usr/bin:/bin", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def command_of(checkout: Path, commands: Path, *words: str) -> str:
    line = gke(checkout, commands, *words, "--dry-run", "--", "--config.data.prefix=a b").stdout.splitlines()[0]
    (command,) = (word for word in shlex.split(line) if word.startswith("--command="))
    return command.removeprefix("--command=")


def test_a_pod_hands_its_signal_to_the_run(checkout: Path, commands: Path, answers: Path):
    executable(commands / "t2c", "trap 'echo saved; exit 143' TERM; echo up; while :; do sleep 0.02; done")
    shell = shell_of_a_pod(command_of(checkout, commands, *TPU), commands)
    assert shell.stdout is not None
    assert shell.stdout.readline() == "up\n"
    shell.send_signal(signal.SIGTERM)
    assert shell.communicate(timeout=30)[0] == "saved\n"
    assert shell.returncode == 143


def test_gpu_machines_find_each_other_by_the_variables_of_xpk(checkout: Path, commands: Path, answers: Path):
    executable(
        commands / "t2c",
        'printf "<%s>" "$@" "$JAX_COORDINATOR_ADDRESS" "$JAX_NUM_PROCESSES" "$JAX_PROCESS_ID"; exit 75',
    )
    command = command_of(checkout, commands, *RUN, "--device-type=h100-mega-80gb-8", "--slices=2")
    environment = {"JAX_COORDINATOR_ADDRESS": "first", "JAX_COORDINATOR_PORT": "6002", "NNODES": "2", "NODE_RANK": "1"}
    shell = shell_of_a_pod(command, commands, **environment)
    said = shell.communicate(timeout=30)[0]
    assert said.endswith("<--workdir></data/runs/a><--config.data.prefix=a b><first:6002><2><1>")
    assert shell.returncode == 75
    done = gke(checkout, commands, *RUN, "--device-type=h100-mega-80gb-8", "--slices=2", "--dry-run")
    assert "--device-type=h100-mega-80gb-8 --num-nodes=2" in done.stdout
    assert "--container=gpu-image" in done.stdout


def test_the_first_pods_log_is_followed_to_the_end(checkout: Path, commands: Path, answers: Path):
    (answers / "logs").write_text("1 waiting to start: ContainerCreating\n0 step 1\n")
    (answers / "states").write_text("\n\nCompleted\n")
    done = gke(checkout, commands, *TPU)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["waiting to start: ContainerCreating", "step 1"]
    assert [call[:2] for call in calls(commands, "xpk")] == [["workload", "create"]]


def test_after_a_restart_the_next_pods_log_is_followed(checkout: Path, commands: Path, answers: Path):
    (answers / "pods").write_text("pod/a\npod/a\n\npod/b\n")
    (answers / "logs").write_text("0 step 1\n0 step 2\n")
    (answers / "states").write_text("\n\n\n\nCompleted\n")
    done = gke(checkout, commands, *CLUSTER, "--follow")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["step 1", "step 2"]
    assert [call[-1] for call in calls(commands, "kubectl") if call[0] == "logs"] == ["pod/a", "pod/b"]
    (listing,) = calls(commands, "xpk")
    assert listing[:2] == ["workload", "list"], "which logs kubectl in"


def test_a_run_that_failed(checkout: Path, commands: Path, answers: Path):
    (answers / "states").write_text("Failed\n")
    done = gke(checkout, commands, *TPU)
    assert (done.returncode, done.stderr) == (1, "the run failed; see the end of its log above\n")


def test_without_quota_it_ends_with_the_message_of_xpk(checkout: Path, commands: Path, answers: Path):
    recorder(commands / "xpk", "echo '[XPK] v6e-16 is not available on the cluster'; exit 1")
    done = gke(checkout, commands, *TPU)
    assert (done.returncode, done.stdout) == (1, "[XPK] v6e-16 is not available on the cluster\n")
    assert not calls(commands, "kubectl")


def test_delete(checkout: Path, commands: Path, answers: Path):
    assert gke(checkout, commands, *CLUSTER, "--delete").returncode == 0
    assert calls(commands, "xpk") == [["workload", "delete", "--workload=my-run", *CLUSTER[1:], "--force"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (CLUSTER[:2], "--name, --cluster and --zone are needed"),
        (CLUSTER, "--image is needed: docker build --file launch/Dockerfile"),
        (RUN, "--tpu-type or --device-type is needed"),
        ((*TPU, "--device-type=l4-1"), "--tpu-type and --device-type exclude each other"),
        ((*TPU, "--workdir=runs/a"), "--workdir runs/a is not an absolute path"),
        ((*TPU, "--slices=0"), "--slices has to be an integer of at least 1, not 0"),
        ((*TPU, "--", "--config.data.prefix=it's"), "newlines do not work, as in --config.data"),
        ((*TPU, "--", "a\nb"), "quotes, backslashes, dollars and newlines do not work, as in a"),
        ((*TPU, "--", "$(date)"), "quotes, backslashes, dollars and newlines do not work, as in $(date)"),
    ],
)
def test_mistakes(checkout: Path, commands: Path, answers: Path, words: tuple[str, ...], message: str):
    done = gke(checkout, commands, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not calls(commands, "xpk")
