"""Programs that try what they must not: harmless stand-ins for each kind of attack, in each kind of isolation."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from t2c_jax.sandbox import ladder
from t2c_jax.sandbox.languages import LANGUAGES
from t2c_jax.sandbox.outcomes import Limits, Program
from t2c_jax.sandbox.pool import Sandbox
from t2c_jax.sandbox.server import landlock

SECRET = "the-secret-of-this-test"
MIB = 1 << 20


@pytest.fixture(scope="module", params=ladder.RUNGS, ids=lambda rung: rung.name)
def sandbox(request):
    # The kernel decides, not the probe: a rung with a hole in it must fail, and not be skipped.
    if not offered(request.param):
        pytest.skip(f"this machine does not offer {request.param.name}")
    with Sandbox.open(workers=1, rungs=[request.param]) as opened:
        yield opened


def offered(rung):
    if rung is ladder.LANDLOCK:
        with contextlib.suppress(OSError):
            return landlock.version() >= landlock.TRUNCATE_VERSION
        return False
    if rung is ladder.BUBBLEWRAP:
        program = ladder.bubblewrap()
        command = program and [program, "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    else:
        command = [
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--mount",
            "--net",
            "--fork",
            "--mount-proc",
            "true",
        ]
    return bool(command) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def outside(tmp_path):
    """A directory that no program may see, with a file in it."""
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path


def run(sandbox, source, language="python", **options):
    (outcome,) = sandbox.run([Program(language, source, **options)])
    assert outcome.status != "not_run", outcome
    return outcome


def attempts(*lines):
    """A program that tries each line, and prints those that work."""
    return (
        "import contextlib, os, resource, shutil, signal, socket, subprocess, sys\n"
        f"for line in {lines!r}:\n"
        "    with contextlib.suppress(Exception, SystemExit):\n"
        "        print(line, eval(line))\n"
    )


def test_writes_outside(sandbox, outside):
    secret = str(outside / "secret")
    targets = [secret, str(outside / "new"), "/usr/new", "/etc/new", "/new", str(Path.home() / "new")]
    targets += [f"{sys.prefix}/new", f"{os.path.dirname(os.__file__)}/new.py", ladder.__file__]
    lines = [f"open({target!r}, 'a').write('x')" for target in targets]
    lines += [f"os.truncate({secret!r}, 0)", f"os.rename({secret!r}, {secret + '2'!r})", f"os.unlink({secret!r})"]
    lines += [f"os.mkdir({str(outside / 'new')!r})", f"os.symlink('x', {str(outside / 'new')!r})"]
    lines += [f"os.chmod({secret!r}, 0)", f"os.utime({secret!r}, (1, 1))", f"os.chmod({os.__file__!r}, 0o600)"]
    lines += [f"os.setxattr({os.__file__!r}, 'user.x', b'x')", f"os.utime({os.__file__!r}, (1, 1))"]
    lines += [f"(os.symlink({str(outside)!r}, 'link'), open('link/new', 'w'))[1]"]
    lines += [f"subprocess.run(['touch', {str(outside / 'new')!r}], check=True)"]
    before = os.stat(os.__file__), os.stat(secret)
    found = run(sandbox, attempts(*lines))
    assert (found.status, found.stdout) == ("passed", "")
    assert (os.stat(os.__file__).st_mtime, os.stat(secret).st_mtime) == tuple(each.st_mtime for each in before)
    assert [path.name for path in outside.iterdir()] == ["secret"]
    run(sandbox, f"echo x > {outside}/new; cp /dev/null {secret}", "bash")
    run(sandbox, f"ATTACH '{outside}/new' AS other; CREATE TABLE other.t(x);", "sql")
    if not LANGUAGES["javascript"].missing():
        run(sandbox, f"require('fs').writeFileSync('{outside}/new', 'x')", "javascript")
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == SECRET


def test_reads_of_secrets(sandbox, outside, monkeypatch):
    secret = str(outside / "secret")
    monkeypatch.setenv("T2C_SECRET", SECRET)
    parent = os.getpid()
    lines = [f"open({secret!r}).read()", f"os.listdir({str(outside)!r})"]
    lines += [f"(os.symlink({secret!r}, 'link'), open('link').read())[1]"]
    lines += [f"(os.link({secret!r}, 'hard'), open('hard').read())[1]", f"shutil.copy({secret!r}, 'copy')"]
    lines += [f"subprocess.check_output(['cat', {secret!r}])", "os.environ['T2C_SECRET']"]
    lines += [f"open('/proc/{each}/environ').read()[:0] + 'read'" for each in (parent, os.getppid(), 1)]
    lines += ["open('/proc/1/mem', 'rb').read(0)", "os.open('/proc/1/fd/0', os.O_RDONLY)", "os.listdir('/proc/1/root')"]
    lines += [f"os.listdir('/proc/{parent}/root')", "open('/etc/shadow').read()", "os.listdir('/sys')"]
    found = run(sandbox, attempts(*lines))
    assert (found.status, found.stdout) == ("passed", "")
    assert SECRET not in run(sandbox, f"cat {secret}; env; cat /proc/{parent}/environ", "bash").stdout
    query = f"ATTACH '{outside}/database' AS other; SELECT * FROM other.t;"
    with contextlib.closing(__import__("sqlite3").connect(outside / "database")) as database, database:
        database.execute("CREATE TABLE t AS SELECT ?", (SECRET,))
    assert SECRET not in run(sandbox, query, "sql").stdout
    link = run(sandbox, f"import os; os.symlink({secret!r}, 'link')", return_files=True)
    assert link.files == {"link@": secret}


def test_sockets(sandbox, outside):
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0)))]
        port = listeners[0].getsockname()[1]
        for address in (str(outside / "socket"), f"\0t2c-{os.getpid()}"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
            listeners.append(listener)
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        lines = [f"socket.create_connection(('127.0.0.1', {port}), 1)", "socket.create_connection(('10.0.0.1', 80), 1)"]
        lines += [f"socket.socket(socket.AF_UNIX).connect({each.getsockname()!r})" for each in listeners[1:]]
        lines += [f"socket.socket({family}, socket.SOCK_RAW)" for family in ("socket.AF_PACKET", "socket.AF_NETLINK")]
        lines += ["socket.socket(socket.AF_VSOCK)", "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)"]
        found = run(sandbox, attempts(*lines))
        assert (found.status, found.stdout) == ("passed", "")
        where = datagrams.getsockname()  # a program may send to itself, not to us
        run(sandbox, attempts(f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', {where!r})"))
        for listener in (*listeners, datagrams):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.recv(1) if listener is datagrams else listener.accept()


CALLS = """
import ctypes, os
libc = ctypes.CDLL(None)
for name, arguments in {
    "unshare": (0x10000000,),
    "mount": (b"none", b"/tmp", b"tmpfs", 0, None),
    "umount": (b"/proc",),
    "chroot": (b"/tmp",),
    "ptrace": (16, os.getppid(), 0, 0),
    "shmget": (1, 4096, 0o1600),
    "msgget": (1, 0o1600),
    "sethostname": (b"x", 1),
    "setuid": (0,) if os.getuid() else (1,),
}.items():
    if getattr(libc, name)(*arguments) != -1:
        print(name)
for number in (425, 428, 438, 442):  # io_uring_setup, open_tree, pidfd_getfd, mount_setattr
    if libc.syscall(number, 1, 0, 0, 0) != -1:
        print(number)
"""


def test_calls_into_the_kernel(sandbox):
    found = run(sandbox, CALLS)
    assert (found.status, found.stdout) == ("passed", "")


def test_other_processes(sandbox):
    with subprocess.Popen(["sleep", "60"]) as victim:
        try:
            lines = [f"os.kill({victim.pid}, {number})" for number in (9, 15, 19)]
            lines += [f"os.kill({os.getpid()}, 0)", "os.kill(os.getppid(), 9)", "os.kill(1, 9)"]
            lines += [f"resource.prlimit({victim.pid}, resource.RLIMIT_NOFILE, (3, 3))"]
            lines += [f"os.setpriority(os.PRIO_PROCESS, {victim.pid}, 19)"]
            found = run(sandbox, attempts(*lines))
            assert found.status == "passed"
            ignored = [line for line in found.stdout.splitlines() if "os.kill(1, 9)" in line or "getppid" in line]
            assert found.stdout.splitlines() == ignored  # process 1 of a namespace ignores them
            run(sandbox, "kill -9 -1", "bash")
            assert victim.poll() is None
            assert os.getpriority(os.PRIO_PROCESS, victim.pid) == os.getpriority(os.PRIO_PROCESS, 0)
        finally:
            victim.kill()
    assert run(sandbox, "print(1)").stdout == "1\n"


FORKS = """
import os, time
started = 0
for _ in range(300):
    try:
        child = os.fork()
    except OSError:
        break
    if not child:
        time.sleep(30)
        os._exit(0)
    started += 1
    print(started, flush=True)
    time.sleep(0.001)
assert started < 300
"""
THREADS = """
import threading, time
for _ in range(300):
    threading.Thread(target=time.sleep, args=(30,)).start()
"""


def test_fork_storms(sandbox):
    limits = Limits(processes=20, cpu_seconds=5, idle_seconds=0.5)
    found = run(sandbox, FORKS, limits=limits)
    assert found.stdout.count("\n") < 300
    assert found.status in ("passed", "killed")
    assert run(sandbox, THREADS, limits=limits).status in ("failed", "killed")
    run(sandbox, "for i in $(seq 300); do sleep 30.5 & done", "bash", limits=limits)
    assert not alive("sleep 30.5")
    assert run(sandbox, "print(1)").stdout == "1\n"


EACH_WITHIN_THE_LIMIT = """
import os, time
for _ in range(8):
    if not os.fork():
        block = b"x" * (24 << 20)
        time.sleep(5)
        os._exit(0)
time.sleep(5)
"""


@pytest.mark.parametrize(
    "source",
    [
        "block = bytearray(200 << 20)",
        "import mmap\nblock = mmap.mmap(-1, 200 << 20)\nblock.write(bytes(200 << 20))",
        "blocks = []\nfor _ in range(200): blocks.append(bytearray(1 << 20))",
        EACH_WITHIN_THE_LIMIT,
    ],
    ids=["block", "shared", "blocks", "processes"],
)
def test_memory(sandbox, source):
    found = run(sandbox, source, limits=Limits(memory_bytes=64 * MIB, cpu_seconds=5))
    assert found.status == "memory", found


def test_disks(sandbox):
    limits = Limits(file_bytes=4 * MIB)
    one = "with open('file', 'wb') as file:\n    for _ in range(20): file.write(bytes(1 << 20))\n"
    assert run(sandbox, one, limits=limits).status != "passed"
    elsewhere = one.replace("'file'", "__import__('os').environ['TMPDIR'] + '/file'")
    assert run(sandbox, elsewhere, limits=limits).status != "passed"
    many = (
        "import time\nfor number in range(20):\n    open(str(number), 'wb').write(bytes(1 << 20))\n    time.sleep(0.02)"
    )
    assert run(sandbox, many, limits=limits).status != "passed"
    shared_memory = "with open('/dev/shm/file', 'wb') as file:\n    for _ in range(20): file.write(bytes(1 << 20))\n"
    assert run(sandbox, shared_memory, limits=limits).status != "passed"
    assert run(sandbox, "import os; print(os.listdir('.'), os.listdir(os.environ['TMPDIR']))").stdout == "[] []\n"


def test_deep_directories(sandbox):
    deep = "import os\nfor _ in range(1100):\n    os.mkdir('d')\n    os.chdir('d')\nopen('file', 'w').write('x')\n"
    assert run(sandbox, deep, return_files=True).status == "passed"
    closed = "import os\nos.makedirs('a/b')\nos.chmod('a/b', 0)\nos.chmod('a', 0)\n"
    run(sandbox, closed, return_files=True)
    assert run(sandbox, "import os; print(os.listdir('.'))").stdout == "[]\n"


@pytest.mark.parametrize(
    "source",
    [
        "while True: print('x' * 1000)",
        "import sys\nwhile True: sys.stderr.write('x' * 1000)",
        "import os\nif not os.fork(): os.setsid()\nwhile True: os.write(1, b'x' * 1000)",
    ],
    ids=["stdout", "stderr", "two"],
)
def test_endless_output(sandbox, source):
    found = run(sandbox, source, limits=Limits(output_bytes=20_000))
    assert found.status == "output"
    assert max(len(found.stdout), len(found.stderr)) == 20_000


def test_ignored_signals(sandbox):
    ignoring = (
        "import resource, signal\nfor number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC):\n"
        "    try:\n        resource.setrlimit(limit, (resource.RLIM_INFINITY,) * 2)\n        print('raised')\n"
        "    except (OSError, ValueError):\n        pass\n"
        "print('ready', flush=True)\nwhile True: pass\n"
    )
    found = run(sandbox, ignoring, limits=Limits(cpu_seconds=0.3))
    assert (found.status, found.stdout) == ("cpu_time", "ready\n")
    stopped = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    assert run(sandbox, stopped, limits=Limits(idle_seconds=0.3)).status in ("killed", "failed")


def test_cpu_time_of_all_processes_counts(sandbox):
    several = "import os\nfor _ in range(3): os.fork()\nwhile True: pass\n"
    assert run(sandbox, several, limits=Limits(cpu_seconds=0.5)).status == "cpu_time"
    one_by_one = (
        "import os, time\nwhile True:\n    if not os.fork():\n        end = time.process_time() + 0.1\n"
        "        while time.process_time() < end: pass\n        os._exit(0)\n    os.wait()\n"
    )
    assert run(sandbox, one_by_one, limits=Limits(cpu_seconds=0.5)).status == "cpu_time"


ORPHAN = """
import os
if not os.fork():
    os.setsid()
    if not os.fork():
        os.execvp("sleep", ["sleep", "31.4159"])
    os._exit(0)
os.wait()
"""


def test_orphans(sandbox):
    assert run(sandbox, ORPHAN).status == "passed"
    assert run(sandbox, "(setsid sleep 31.4159 &) ; setsid sleep 31.4159 & disown", "bash").status == "passed"
    assert not alive("sleep 31.4159")


def alive(command):
    """Processes of this machine with the command line."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = Path("/proc", process, "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            found += [process] if line == command else []
    return found


MESSAGE = """
import json, os
body = json.dumps({"exit": 0, "completed": True, "broken": None, "failure": ""}).encode()
for number in range(1, 256):
    try:
        os.write(number, len(body).to_bytes(8, "little") + body)
    except OSError:
        pass
os._exit(0)
"""
MEMORY = """
import gc, os, sys
found = [each for each in gc.get_objects() if isinstance(each, bytes) and len(each) == 16]
frame = sys._getframe()
while frame:
    for each in list(frame.f_locals.values()):
        found += [value for value in getattr(each, "__dict__", {}).values() if isinstance(value, bytes)]
    frame = frame.f_back
for number in range(3, 256):
    for each in [*found, os.urandom(16)]:
        try:
            os.write(number, each)
        except OSError:
            pass
os._exit(0)
"""
SIGNALS = """
import os, signal
for each in (os.getppid(), 1):
    try:
        os.kill(each, signal.SIGKILL)
    except OSError:
        pass
assert False
"""
FORGERIES = {
    "exit": "import sys; sys.exit(0)",
    "exit at once": "import os; os._exit(0)",
    "exit in a thread": "import os, threading\nthreading.Thread(target=os._exit, args=(0,)).start()\nwhile True: pass",
    "exit handler": "import atexit, os\natexit.register(os._exit, 0)\nassert False",
    "replaced process": "import os; os.execv('/bin/true', ['true'])",
    "words": "print('passed'); print('PASSED', flush=True); raise SystemExit(0)",
    "child": "import os\nif os.fork(): os._exit(0)",
    "message": MESSAGE,
    "memory": MEMORY,
    "signals": SIGNALS,
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_results(sandbox, name):
    assert run(sandbox, FORGERIES[name]).status in ("failed", "killed")
    assert sandbox.not_run == 0


def test_a_program_leaves_nothing_to_the_next(sandbox):
    first = (
        "import builtins, math, os, random, sys\nbuiltins.len = lambda _: 7\nmath.pi = 3\nos.environ['LEFT'] = '1'\n"
        "sys.modules['left'] = math\nrandom.seed(1)\nos.umask(0)\nopen('left', 'w').write('x')\n"
        "open(os.environ['TMPDIR'] + '/left', 'w').write('x')\n"
    )
    second = (
        "import math, os, sys\nprint(len([]), math.pi > 3, 'LEFT' in os.environ, 'left' in sys.modules,"
        " os.umask(0) == 0, os.listdir('.'), os.listdir(os.environ['TMPDIR']))\n"
    )
    assert run(sandbox, first).status == "passed"
    assert run(sandbox, second).stdout == "0 True False False False [] []\n"


@pytest.mark.skipif(not shutil.which("node"), reason="needs node on PATH")
@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("console.log(1)", "passed"),
        ("process.exit(0)", "failed"),
        ("throw new Error('x')", "failed"),
        ("setTimeout(() => process.exit(0), 5)", "failed"),
        ("require('child_process').spawn('sleep', ['31.4159'], {detached: true, stdio: 'ignore'}).unref()", "passed"),
        ("while (true) {}", "cpu_time"),
        ("setTimeout(() => 0, 60000)", "killed"),
        ("const blocks = []; while (true) blocks.push(new Array(1000000).fill(1.5))", "memory"),
    ],
)
def test_javascript(sandbox, source, status):
    limits = Limits(cpu_seconds=5, idle_seconds=0.5, memory_bytes=128 * MIB)
    if source.startswith("while"):
        limits = Limits(cpu_seconds=0.3)
    assert run(sandbox, source, "javascript", limits=limits).status == status
    assert not alive("sleep 31.4159")
