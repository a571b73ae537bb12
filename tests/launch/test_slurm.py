"""launch/slurm.sh and the job it submits, with stand-ins for SLURM's commands that run the job's tasks here."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stand_ins import calls, executable, recorder, run

# As srun with two tasks and --kill-on-bad-exit: kills what is left when a task fails, and then tells of the killed.
SRUN = r"""
trap 'kill -KILL $(sed s/^/-/ "$ANSWERS/tasks"); exit 137' TERM
shift
for rank in 0 1; do
  SLURM_PROCID=$rank setsid "$@" &
  echo $! >>"$ANSWERS/tasks"
done
status=0
for _ in 0 1; do
  ended=0
  wait -n || ended=$?
  if [ $ended -gt $status ]; then status=$ended; fi
  if [ $ended -ne 0 ] && [ $ended -ne 143 ]; then kill -KILL $(sed s/^/-/ "$ANSWERS/tasks") 2>/dev/null; fi
done
exit $status"""


@pytest.fixture
def cluster(checkout: Path, commands: Path) -> Path:
    """The checkout on a cluster, with a directory "work" that its nodes share; the job's state is in "job.state"."""
    recorder(commands / "srun", SRUN)
    recorder(commands / "scancel", 'kill -TERM $(sed s/^/-/ "$ANSWERS/tasks")')
    recorder(commands / "squeue", 'cat "$ANSWERS/job.state"')
    recorder(commands / "scontrol")
    recorder(commands / "sbatch", 'echo "Submitted batch job 7"')
    (commands.parent / "job.state").write_text("RUNNING\n")
    (commands.parent / "work").mkdir()
    return checkout


def job_words(cluster: Path, restarts: int = 100) -> list[str]:
    work = str(cluster.parent / "work")
    return ["launch/_slurm_job.sh", "batch", str(restarts), work, "--workdir", work, "--config.data.prefix=it's"]


def job(cluster: Path, commands: Path, restarts: int = 100, **environment: str) -> subprocess.CompletedProcess[str]:
    done = run(
        "bash",
        *job_words(cluster, restarts),
        cwd=cluster,
        commands=commands,
        **{"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "8", **environment},
    )
    assert not list((cluster.parent / "work").iterdir()), "it cleans up after itself"
    return done


def requeued(commands: Path) -> bool:
    assert calls(commands, "scontrol") in ([], [["requeue", "7"]])
    return bool(calls(commands, "scontrol"))


def test_dry_run_prints_every_command_and_runs_none(checkout: Path, commands: Path, tmp_path: Path):
    done = run(
        *("bash", "launch/slurm.sh", "--nodes=2", "--gpus=4", "--workdir", "/shared/a b", "--dry-run"),
        *("--", "--config.data.prefix=it's $HOME"),
        cwd=checkout,
        commands=commands,
    )
    assert done.returncode == 0, done.stderr
    environment, directory, submit = (shlex.split(line) for line in done.stdout.splitlines())
    assert environment == [
        *("bash", "-c", 'source "$0" && make_environment cuda', f"{checkout}/launch/_environment.sh")
    ]
    assert directory == ["mkdir", "-p", "/shared/a b"]
    assert submit == [
        *("sbatch", "--job-name=t2c", "--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=8"),
        *("--requeue", "--signal=B:TERM@120", "--open-mode=append", "--output=/shared/a b/slurm-%j.log"),
        *(f"--chdir={checkout}", f"{checkout}/launch/_slurm_job.sh", "batch", "100", "/shared/a b"),
        *("--config", "configs/quickstart.py", "--workdir", "/shared/a b", "--config.data.prefix=it's $HOME"),
    ]


def test_it_installs_for_gpus_and_submits(cluster: Path, commands: Path):
    log = cluster.parent / "pip.log"
    python = f"""
case "$1 $2" in
  "- "*) echo 3.13 ;;
  "--version "*) echo Python 3.13 ;;
  "-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip") echo "$*" >>{shlex.quote(str(log))} ;;
esac"""
    executable(commands / "python3", python)
    done = run("bash", "launch/slurm.sh", "--workdir=runs/a", cwd=cluster, commands=commands)
    assert done.returncode == 0, done.stderr
    assert log.read_text().endswith(f"--constraint {cluster}/constraints.txt --editable {cluster}[cuda]\n")
    (submit,) = calls(commands, "sbatch")
    assert f"--output={cluster}/runs/a/slurm-%j.log" in submit, "the path of every node"
    assert (cluster / "runs/a").is_dir()
    assert done.stdout == "Submitted batch job 7\n"
    assert "scancel JOB" in done.stderr


def test_a_full_queue_is_reported(cluster: Path, commands: Path):
    recorder(commands / "sbatch", "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")
    executable(commands / "bash", "exit 0")  # in place of installing
    done = run("/bin/bash", "launch/slurm.sh", "--workdir=runs/a", cwd=cluster, commands=commands)
    assert (done.returncode, done.stderr) == (1, "sbatch: error: QOSMaxSubmitJobPerUserLimit\n")


def test_a_job_runs_to_its_end(cluster: Path, commands: Path):
    show = f'printf "<%s>" "$SLURM_PROCID $SRUN_CPUS_PER_TASK" "$@" >"{cluster.parent}/said.$SLURM_PROCID"'
    executable(cluster / ".venv/bin/t2c", show)
    assert job(cluster, commands).returncode == 0
    work = cluster.parent / "work"
    for rank in (0, 1):
        said = (cluster.parent / f"said.{rank}").read_text()
        assert said == f"<{rank} 8><run><--workdir><{work}><--config.data.prefix=it's>"
    assert not requeued(commands)
    assert calls(commands, "srun")[0][0] == "--kill-on-bad-exit=1"


@pytest.mark.parametrize(("status", "again"), [(75, True), (134, True), (143, True), (1, False), (2, False)])
def test_the_first_failure_decides(cluster: Path, commands: Path, status: int, again: bool):
    """The other task hangs, is killed, and makes srun answer 137."""
    first = f"exit {status}" if status != 143 else "kill -TERM $$"
    # 143 on its own does not end the other task, which then ends well.
    executable(
        cluster / ".venv/bin/t2c", f'[ "$SLURM_PROCID" = 0 ] || {{ {first}; }}; sleep {0.1 if status == 143 else 30}'
    )
    done = job(cluster, commands)
    assert requeued(commands) == again
    if not again:
        assert done.returncode == status
    else:
        assert f"the run ended with {status}: requeueing the job" in done.stderr


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", ""])
def test_before_its_time_is_up_a_job_saves(cluster: Path, commands: Path, state: str):
    """SLURM sends SIGTERM to the job's shell alone. A job that is being ended already is left to SLURM."""
    root = cluster.parent
    # What the job asks once its tasks have ended, no sooner.
    recorder(commands / "squeue", f'[ -e "{root}/saved.0" ] && [ -e "{root}/saved.1" ] && echo "{state}"')
    saves = f"""
trap 'sleep 0.1; touch "{root}/saved.$SLURM_PROCID"; exit 143' TERM
touch "{root}/up.$SLURM_PROCID"
while :; do sleep 0.02; done"""
    executable(cluster / ".venv/bin/t2c", saves)
    started = subprocess.Popen(
        ["bash", *job_words(cluster)],
        cwd=cluster,
        env={**os.environ, "PATH": f"{commands}:/usr/bin:/bin", "SLURM_JOB_ID": "7"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not all((root / f"up.{rank}").exists() for rank in (0, 1)) and time.monotonic() < deadline:
        time.sleep(0.02)
    started.send_signal(signal.SIGTERM)
    error = started.communicate(timeout=30)[1]
    assert all((root / f"saved.{rank}").exists() for rank in (0, 1)), error
    assert calls(commands, "scancel") == [["--signal=TERM", "7"]]
    assert requeued(commands) == (state == "RUNNING")
    assert started.returncode == (0 if state == "RUNNING" else 143)


def test_not_more_often_than_allowed(cluster: Path, commands: Path):
    executable(cluster / ".venv/bin/t2c", "exit 75")
    assert job(cluster, commands, restarts=3, SLURM_RESTART_COUNT="2").returncode == 0
    assert requeued(commands)
    (commands.parent / "scontrol.log").unlink()
    (commands.parent / "tasks").unlink()
    done = job(cluster, commands, restarts=3, SLURM_RESTART_COUNT="3")
    assert (done.returncode, requeued(commands)) == (75, False)
    assert done.stderr.endswith("error: the run ended with 75; --restarts 3 is used up\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--workdir is needed: a directory that all nodes share"),
        (["--workdir=gs://bucket/runs"], "--workdir gs://bucket/runs is not a directory"),
        (["--workdir=a", "--gpus=0"], "--gpus has to be an integer of at least 1, not 0"),
        (["--workdir=a", "--nodes", "two"], "--nodes has to be an integer of at least 1, not two"),
        (["--workdir=a", "--config=no.py"], "--config no.py is not a file of this checkout"),
        (["--workdir=a", "--config.train.steps=1"], "unknown argument '--config.train.steps'"),
    ],
)
def test_mistakes(cluster: Path, commands: Path, words: list[str], message: str):
    done = run("bash", "launch/slurm.sh", *words, cwd=cluster, commands=commands)
    assert done.returncode == 2
    assert message in done.stderr
    assert not calls(commands, "sbatch")
