"""The watchdog ends processes that hang, and no others."""

import textwrap
import time

import pytest
from small_run import environment, processes

from t2c_jax.train.resilience.watchdog import STATUS, Watchdog


def start(code, stacks):
    source = "import sys, time, threading\nfrom pathlib import Path\n"
    source += "from t2c_jax.train.resilience.watchdog import Watchdog\n"
    source += f"stacks = Path({str(stacks)!r})\n" + textwrap.dedent(code)
    return processes().run({"code": source}, env=environment(), timeout=60)


def test_a_hang_ends_with_all_stacks_and_status_75(tmp_path):
    done = start(
        """
        def waits_for_a_host_that_is_gone():
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()

        with Watchdog(0.4, stacks):
            waits_for_a_host_that_is_gone()
        """,
        tmp_path / "stacks.0.txt",
    )
    assert done.returncode == STATUS == 75
    assert "no step finished within config.train.watchdog_seconds=0.4" in done.stderr
    assert "run the same command again to resume" in done.stderr
    stacks = (tmp_path / "stacks.0.txt").read_text()
    assert "waits_for_a_host_that_is_gone" in stacks
    assert stacks.count("hread 0x") >= 2  # the watchdog's own, too


def test_where_the_file_cannot_be_written_stacks_go_to_stderr(tmp_path):
    done = start("with Watchdog(0.2, stacks):\n    time.sleep(30)", tmp_path / "gone" / "stacks.txt")
    assert done.returncode == STATUS
    assert "File " in done.stderr
    assert "cannot be written" in done.stderr


def test_beats_keep_it_quiet(tmp_path):
    done = start(
        """
        with Watchdog(0.6, stacks) as watchdog:
            for _ in range(12):
                time.sleep(0.1)
                watchdog.beat()
        """,
        tmp_path / "stacks.txt",
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "stacks.txt").exists()


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
def test_it_ends_with_the_run(tmp_path, seconds):
    watchdog = Watchdog(seconds, tmp_path / "stacks.txt")
    started = time.monotonic()
    with watchdog:
        pass
    assert time.monotonic() - started < 30
    assert not watchdog._thread.is_alive()


def test_time_in_which_the_process_was_stopped_does_not_count(tmp_path):
    """A suspended machine is not a hang: however far the clock has moved, one poll counts as two at most."""
    done = start(
        """
        import os, subprocess
        # Stops this process for longer than the watchdog waits, and wakes it again.
        other = f"kill -STOP {os.getpid()}; sleep 3; kill -CONT {os.getpid()}"
        with Watchdog(2.0, stacks):
            subprocess.run(["sh", "-c", other], check=True)
        """,
        tmp_path / "stacks.txt",
    )
    assert done.returncode == 0, done.stderr
