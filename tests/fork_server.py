"""Starts Python processes in milliseconds: each is forked from one that has imported everything and touched no device.

Importing TensorFlow, JAX and Orbax takes longer than most of what tests start processes for. One server for a whole
test run, shared by pytest's workers, imports them once. A child has its own environment, working directory and standard
streams; JAX reads its settings from that environment anew. What a real start does beyond that (``python -m``, the
console script, what is imported when) is tested with real starts.
"""

from __future__ import annotations

import array
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import filelock

START_SECONDS = 300  # to import everything, on a machine with other work
_READY = b"ready\n"


class Process:
    """A started process, with the part of ``subprocess.Popen`` that tests use."""

    def __init__(
        self,
        connection: socket.socket,
        pid: int,
        streams: tuple[IO[str] | None, IO[str] | None, IO[str] | None],
    ) -> None:
        self.pid, self.args = pid, f"process {pid}"
        self.stdin, self.stdout, self.stderr = streams
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """The exit status, minus the signal that killed it, or None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status.

        Raises:
          subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        if self._wait(timeout) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Everything that it writes to its end, as of ``subprocess.Popen``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found: dict[int, bytearray] = {}
        readers = {stream.fileno(): stream for stream in (self.stdout, self.stderr) if stream and not stream.closed}
        found = {number: bytearray() for number in readers}
        pending = (input or "").encode()
        writer = self.stdin.fileno() if self.stdin is not None and not self.stdin.closed else None
        while readers or writer is not None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            ready, writable, _ = select.select(list(readers), [] if writer is None else [writer], [], left)
            if writable and writer is not None:
                try:
                    pending = pending[os.write(writer, pending[:4096]) :] if pending else b""
                except BrokenPipeError:
                    pending = b""
                if not pending:
                    assert self.stdin is not None
                    self.stdin.close()
                    writer = None
            for number in ready:
                if chunk := os.read(number, 1 << 16):
                    found[number] += chunk
                else:
                    readers.pop(number).close()
        self.wait(None if deadline is None else max(deadline - time.monotonic(), 0.1))
        texts = [found[number].decode("utf-8", "replace") for number in sorted(found)]
        return (texts[0] if texts else "", texts[1] if len(texts) > 1 else "")

    def send_signal(self, number: int) -> None:
        """Sends a signal to it, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None and not stream.closed:
                stream.close()
        self.wait()

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            said = self._connection.recv(64)
            # The server went away: so did its children.
            self.returncode = int(said) if said else -signal.SIGKILL
            self._connection.close()
        return self.returncode


class ForkServer:
    """The client's side: starts processes through a server's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._presence = socket.socket(socket.AF_UNIX)  # closed by the kernel, however this process ends
        self._presence.connect(str(path))
        self._presence.sendall((0).to_bytes(8, "little"))

    def popen(
        self,
        program: Mapping[str, Any],
        *,
        env: Mapping[str, str],
        cwd: str | Path | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> Process:
        """Starts ``{"t2c": [arguments]}``, ``{"code": source, "argv": [...]}`` or ``{"script": path, "argv": [...]}``.

        What a script starts of itself is forked too, unless it says ``"forks": False``, to measure its own memory.

        Streams are as of ``subprocess.Popen``: PIPE, DEVNULL or None for this process's own.
        """
        theirs: list[int] = []
        ours: list[IO[str] | None] = []
        for number, (wanted, mode) in enumerate(((stdin, "r"), (stdout, "w"), (stderr, "w"))):
            stream: IO[str] | None = None
            if wanted == subprocess.PIPE:
                read, write = os.pipe()
                theirs.append(read if mode == "r" else write)
                stream = os.fdopen(write, "w") if mode == "r" else os.fdopen(read, "r")
            elif wanted == subprocess.DEVNULL:
                theirs.append(os.open(os.devnull, os.O_RDWR))
            elif wanted == subprocess.STDOUT:
                theirs.append(os.dup(theirs[1]))
            else:
                theirs.append(os.dup(number))
            ours.append(stream)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        request = json.dumps({**program, "env": dict(env), "cwd": str(cwd or Path.cwd())}).encode()
        connection.sendmsg(
            [len(request).to_bytes(8, "little")],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", theirs))],
        )
        connection.sendall(request)
        for number in theirs:
            os.close(number)
        pid = int.from_bytes(_exactly(connection, 8), "little")
        return Process(connection, pid, (ours[0], ours[1], ours[2]))

    def run(
        self,
        program: Mapping[str, Any],
        *,
        env: Mapping[str, str],
        cwd: str | Path | None = None,
        input: str | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end, its streams in pipes; one that takes longer than ``timeout`` seconds is killed."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(program, env=env, cwd=cwd, stdin=stdin)
        try:
            out, err = process.communicate(input, timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess([str(program)], process.wait(), out, err)


@functools.cache
def connected(directory: Path) -> ForkServer:
    """The server that listens in the directory, which the first who asks starts; it ends with the last who asked."""
    path = directory / "s"  # short: the path of a socket has 107 characters at most
    with filelock.FileLock(directory / "lock"):
        if not path.exists():
            with (directory / "log.txt").open("w") as log:
                server = subprocess.Popen(
                    [sys.executable, __file__, str(path)], stdout=subprocess.PIPE, stderr=log, start_new_session=True
                )
            assert server.stdout is not None
            ready = select.select([server.stdout], [], [], START_SECONDS)[0]
            said = server.stdout.readline() if ready else b""
            assert said == _READY, f"the fork server did not start: {(directory / 'log.txt').read_text()}"
            server.stdout.close()
            server.returncode = 0  # nobody waits for it
    return ForkServer(path)


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        chunk = connection.recv(size - len(found))
        if not chunk:
            raise ConnectionError("the fork server closed the connection")
        found += chunk
    return found


def _import_everything() -> None:
    import jax
    import numpy
    import orbax.checkpoint
    import tensorflow
    import tensorflow_datasets

    import t2c_jax.aot.ahead_of_time
    import t2c_jax.cli
    import t2c_jax.corpus.build
    import t2c_jax.data.packing_report
    import t2c_jax.decode.embedder
    import t2c_jax.evaluate.evaluator
    import t2c_jax.interop.export
    import t2c_jax.interop.import_model
    import t2c_jax.train.loop  # noqa: F401

    for peer in ("torch", "transformers", "ctranslate2"):  # the extra "bench"
        with contextlib.suppress(ImportError):
            importlib.import_module(peer)
    del jax, numpy, orbax, tensorflow, tensorflow_datasets


def _serve(path: str, tests: str) -> None:
    """Forks a child for each request, and says the exit status of each to whoever asked for it."""
    from t2c_jax import runtime

    runtime.quiet()
    _import_everything()
    sys.path.insert(0, tests)
    import op_by_op
    import program_cache

    sys.path.remove(tests)
    program_cache.write_whole()
    program_cache.cheaper()
    op_by_op.install()
    gc.collect()
    gc.freeze()  # children look at their own objects alone
    gc.set_threshold(50_000, 20, 50)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    children: dict[int, socket.socket] = {}
    clients: set[socket.socket] = set()
    expected = True
    while clients or expected:
        ready, _, _ = select.select([listener, wake_read, *clients], [], [])
        for client in clients.intersection(ready):
            clients.remove(client)
            client.close()
        if wake_read in ready:
            os.read(wake_read, 1 << 12)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                connection = children.pop(pid)
                with contextlib.suppress(OSError):
                    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                connection.close()
        if listener in ready:
            connection, _ = listener.accept()
            header, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(3 * array.array("i").itemsize))
            if not int.from_bytes(header, "little"):
                clients.add(connection)
                expected = False
                continue
            streams = array.array("i")
            for _, _, data in ancillary:
                streams.frombytes(data[: len(data) - len(data) % streams.itemsize])
            request = json.loads(_exactly(connection, int.from_bytes(header, "little")))
            pid = os.fork()
            if not pid:
                listener.close()
                for other in (*children.values(), *clients):
                    other.close()
                connection.close()
                os.close(wake_read)
                signal.set_wakeup_fd(-1)
                os.close(wake_write)
                _child(request, list(streams), Path(path))
            for number in streams:
                os.close(number)
            connection.sendall(pid.to_bytes(8, "little"))
            children[pid] = connection
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _child(request: Mapping[str, Any], streams: Sequence[int], path: Path) -> None:
    """Becomes the process that was asked for; never returns."""
    status = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8")
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding="utf-8", line_buffering=True
        )
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        for folder in reversed(request["env"].get("PYTHONPATH", "").split(os.pathsep)):
            if folder and folder not in sys.path:
                sys.path.insert(1, folder)
        _read_settings()
        status = _run(request, path)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        _at_exit()
        os._exit(status)


def _at_exit() -> None:
    """What the end of an interpreter would run, such as Orbax's threads and JAX's connection to other processes."""
    import atexit
    import threading

    with contextlib.suppress(BaseException):
        threading._shutdown()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()


def _read_settings() -> None:
    """JAX read its environment when it was imported: the server's."""
    import jax

    for name, text in os.environ.items():
        option = name.lower()
        if name.startswith("JAX_") and option in jax.config.values:
            before = jax.config.values[option]
            value: Any = text
            if isinstance(before, bool):
                value = text.lower() in ("1", "true", "y", "yes", "on")
            elif isinstance(before, int | float):
                value = type(before)(text)
            jax.config.update(option, value)


def _fork_scripts(path: Path) -> None:
    """What a script starts as ``[sys.executable, SCRIPT, ...]`` is forked as well."""
    real = subprocess.Popen

    def popen(command: Any, **options: Any) -> Any:
        known = options.keys() <= {"env", "stdin", "stdout", "stderr", "text"} and options.get("text")
        if not known or command[0] != sys.executable or not command[1].endswith(".py"):
            return real(command, **options)
        streams = {name: options.get(name) for name in ("stdin", "stdout", "stderr")}
        program = {"script": command[1], "argv": command[2:]}
        return ForkServer(path).popen(program, env=options.get("env") or os.environ, **streams)

    subprocess.Popen = popen  # type: ignore[assignment,misc]


def _run(request: Mapping[str, Any], path: Path) -> int:
    if "t2c" in request:
        from t2c_jax import cli

        sys.argv = ["t2c", *request["t2c"]]
        return cli.main(request["t2c"])
    sys.argv = [request.get("script", "-c"), *request.get("argv", [])]
    if "script" in request:
        sys.path.insert(0, str(Path(request["script"]).parent))
        if request.get("forks", True):
            _fork_scripts(path)
        runpy.run_path(request["script"], run_name="__main__")
    else:
        sys.path.insert(0, "")
        exec(compile(request["code"], "<code>", "exec"), {"__name__": "__main__"})
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1], sys.path.pop(0))  # tests/, which shadows nothing, but is no part of what users have
