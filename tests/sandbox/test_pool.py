"""The outcomes of programs, in the strongest sandbox of the machine."""

import os
import tempfile

import pytest

from t2c_jax.errors import UserError
from t2c_jax.sandbox import ladder
from t2c_jax.sandbox.outcomes import Limits, Program, calibrated
from t2c_jax.sandbox.pool import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox.open(workers=2) as sandbox:
        yield sandbox


def outcome(sandbox, source, language="python", **options):
    (only,) = sandbox.run([Program(language, source, **options)])
    return only


def test_outcomes_come_in_the_order_of_the_programs(sandbox):
    programs = [Program("python", f"import time; time.sleep({0.2 if n == 0 else 0}); print({n})") for n in range(6)]
    assert [each.stdout for each in sandbox.run(programs)] == [f"{n}\n" for n in range(6)]


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("print(1)", "passed", 0),
        ("assert 1 == 2", "failed", 1),
        ("raise SystemExit(3)", "failed", 3),
        ("import sys; sys.exit(0)", "failed", 0),  # before tests that could follow
        ("import os; os._exit(0)", "failed", 0),
        ("def f(:", "failed", 1),
        ("", "passed", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "killed", None),
    ],
)
def test_status_says_whether_the_last_line_was_reached(sandbox, source, status, code):
    found = outcome(sandbox, source)
    assert (found.status, found.exit_code) == (status, code), found


def test_a_program_that_may_exit_passes_when_it_does(sandbox):
    assert outcome(sandbox, "import sys; sys.exit(0)", may_exit=True).status == "passed"


@pytest.mark.parametrize(
    ("source", "limits", "status"),
    [
        ("while True: pass", Limits(cpu_seconds=0.2), "cpu_time"),
        ("import time; time.sleep(60)", Limits(idle_seconds=0.2), "killed"),
        ("block = bytearray(1 << 29)", Limits(memory_bytes=1 << 26), "memory"),
        ("while True: print('x' * 1000)", Limits(output_bytes=10_000), "output"),
    ],
)
def test_a_program_ends_at_its_limit(sandbox, source, limits, status):
    assert outcome(sandbox, source, limits=limits).status == status


def test_a_program_reads_its_input_and_returns_its_files(sandbox):
    found = outcome(
        sandbox,
        "import os\nos.symlink('a/b.txt', 'link')\nopen('new', 'w').write(input() + open('a/b.txt').read())",
        stdin="typed\n",
        files={"a/b.txt": "kept"},
        return_files=True,
    )
    assert found.files == {"a/": "", "a/b.txt": "kept", "link@": "a/b.txt", "new": "typedkept"}


def test_limits_follow_the_reference(sandbox):
    quick = outcome(sandbox, "x = 1")
    slow = outcome(sandbox, "import time\nwhile time.process_time() < 0.2: pass")
    least = Limits(cpu_seconds=0.5, memory_bytes=1 << 26)
    assert calibrated(least, quick, 10.0) == least
    assert calibrated(least, slow, 10.0).cpu_seconds == 10 * slow.cpu_seconds > 1.9
    assert calibrated(least, slow, 10.0).memory_bytes == least.memory_bytes


def test_large_programs_and_outputs_do_not_wait_for_each_other(sandbox):
    """Pipes hold 64 KiB: a server that writes and a parent that writes must not block each other."""
    source = f"data = {'x' * 300_000!r}\nprint(data)"
    outcomes = list(sandbox.run([Program("python", source)] * 8))
    assert [len(each.stdout) for each in outcomes] == [300_001] * 8


@pytest.mark.parametrize("rung", [ladder.NAMESPACES, ladder.BUBBLEWRAP], ids=lambda rung: rung.name)
def test_a_package_may_lie_below_the_directory_of_temporary_files(rung, monkeypatch):
    """A clone in /tmp gets the same isolation: the package is read there, and TMPDIR is the program's own."""
    try:
        Sandbox.open(workers=1, rungs=[rung]).close()
    except UserError as reason:
        pytest.skip(str(reason))
    with tempfile.TemporaryDirectory(dir="/tmp") as shown:
        os.chmod(shown, 0o755)  # programs have a user of their own
        paths = [*ladder.visible_paths(), shown]
        monkeypatch.setattr(ladder, "visible_paths", lambda: paths)
        with Sandbox.open(workers=1, rungs=[rung]) as sandbox:
            source = f"import os, tempfile; print(os.listdir({shown!r})); tempfile.TemporaryFile().write(b'x')"
            found = outcome(sandbox, source)
            assert (found.status, found.stdout) == ("passed", "[]\n"), found
            assert outcome(sandbox, f"open({shown + '/new'!r}, 'w')").status == "failed"
