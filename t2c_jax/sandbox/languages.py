"""How a program of each language runs. The server imports this module too, so it needs the standard library only."""

from __future__ import annotations

import abc
import atexit
import errno
import json
import linecache
import os
import shutil
import sqlite3
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass

NONCE_BYTES = 16


@dataclass(frozen=True)
class Place:
    """Where a program runs.

    Attributes:
      work: its working directory, which is the current one.
      temporary: a directory for other files.
      nonce, done: the program has reached its end if it copies the bytes of one descriptor to the other.
      process: the program's first process. The end of a copy of it, made by ``fork``, says nothing.
    """

    work: str
    temporary: str
    nonce: int
    done: int
    process: int

    def completed(self) -> None:
        """Reports that the program has reached its end."""
        if os.getpid() == self.process:
            os.write(self.done, os.read(self.nonce, NONCE_BYTES))

    def keep_descriptors(self) -> None:
        """Lets another program, which replaces this process, report its end."""
        for descriptor in (self.nonce, self.done):
            os.set_inheritable(descriptor, True)


class Language(abc.ABC):
    """A language that the sandbox can run.

    Attributes:
      name: as ``Program.language`` has it.
      knows_its_end: whether a program that exits early can be told from one that reaches its last line.
      reserves_address_space: whether its interpreter reserves much more address space than it uses, so that only memory
        in use is limited.
      own_files: files in the working directory that are not the program's.
    """

    name: str
    knows_its_end = True
    reserves_address_space = False
    own_files: tuple[str, ...] = ()

    def missing(self) -> str:
        """What to install for this language; empty if nothing is missing."""
        return ""

    def executables(self) -> list[str]:
        """Paths of programs that must be visible in the sandbox."""
        return []

    @abc.abstractmethod
    def run(self, source: str, place: Place) -> int:
        """Runs the program in the current process, which is confined and has nothing else to do.

        Returns:
          The exit status, unless another program replaces the process.
        """

    def ran_out_of_memory(self, stderr: str) -> bool:
        """Whether a program that failed says that it got no memory."""
        return False


class Python(Language):
    """Python, by the interpreter that runs this package."""

    name = "python"
    _FILE = "program.py"

    def run(self, source: str, place: Place) -> int:
        """Runs the source as ``__main__``; threads, exit handlers and buffers end as at the end of any interpreter."""
        module = types.ModuleType("__main__")
        module.__file__ = self._FILE
        sys.modules["__main__"] = module
        sys.argv = [self._FILE]
        sys.path.insert(0, "")  # files of the working directory can be imported
        linecache.cache[self._FILE] = (len(source), None, source.splitlines(keepends=True), self._FILE)
        completed, code = False, 0
        try:
            exec(compile(source, self._FILE, "exec"), module.__dict__)
            completed = True
        except SystemExit as stop:
            code = _exit_code(stop)
        except BaseException as error:
            code = 1
            in_source = error.__traceback__.tb_next if error.__traceback__ else None
            traceback.print_exception(type(error), error, in_source)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if completed:
            place.completed()
        return code

    def ran_out_of_memory(self, stderr: str) -> bool:
        """The last line names the exception."""
        return stderr.rstrip().rpartition("\n")[2].startswith(("MemoryError", f"OSError: [Errno {errno.ENOMEM}]"))


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    sys.stderr.write(f"{stop.code}\n")
    return 1


class SQL(Language):
    """SQL, by SQLite on an empty database in memory.

    ``setup.sql`` of the working directory runs first. Rows are written as JSON arrays, one a line. ``after.sql`` in the
    working directory is the database afterwards.
    """

    name = "sql"
    _SETUP, _AFTER = "setup.sql", "after.sql"

    def run(self, source: str, place: Place) -> int:
        """Runs the statements one by one; an error ends the program."""
        database = sqlite3.connect(":memory:", isolation_level=None)
        code = 0
        try:
            if os.path.exists(self._SETUP):
                with open(self._SETUP, encoding="utf-8") as file:
                    database.executescript(file.read())
            for statement in _statements(source):
                for row in database.execute(statement):
                    sys.stdout.write(json.dumps(row, default=bytes.hex) + "\n")
        except (sqlite3.Error, sqlite3.Warning) as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            code = 1
        with open(self._AFTER, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in database.iterdump())
        sys.stdout.flush()
        sys.stderr.flush()
        if not code:
            place.completed()
        return code


def _statements(source: str) -> Iterator[str]:
    """Divides a script after each semicolon that ends a statement; the last one may lack it."""
    start = 0
    for end, character in enumerate(source):
        if character == ";" and sqlite3.complete_statement(source[start : end + 1]):
            yield source[start : end + 1]
            start = end + 1
    if source[start:].strip():
        yield source[start:]


class Bash(Language):
    """Bash without start-up files. A script may exit where it likes."""

    name = "bash"
    knows_its_end = False

    def missing(self) -> str:
        """Bash is on most systems, but not on all."""
        return "" if shutil.which("bash") else "bash"

    def run(self, source: str, place: Place) -> int:
        """Replaces the process; the script is outside the working directory."""
        script = _write(f"{place.temporary}/program.sh", source)
        os.execvp("bash", ["bash", "--noprofile", "--norc", script])


class JavaScript(Language):
    """JavaScript, by Node.js."""

    name = "javascript"
    reserves_address_space = True
    own_files = ("program.js",)
    # Node emits beforeExit when nothing is left to do, and not after process.exit() or an exception.
    _PRELOADED = """
const fs = require("fs");
const [nonce, done] = process.env.T2C_DESCRIPTORS.split(",").map(Number);
delete process.env.T2C_DESCRIPTORS;
process.once("beforeExit", () => {
  const bytes = Buffer.alloc(%d);
  fs.readSync(nonce, bytes);
  fs.writeSync(done, bytes);
});
"""

    def missing(self) -> str:
        """Node.js is not on most systems."""
        return "" if shutil.which("node") else "node (Debian and Ubuntu: apt install nodejs)"

    def executables(self) -> list[str]:
        """Node may be installed in a directory of its own."""
        found = shutil.which("node")
        return [os.path.realpath(found)] if found else []

    def run(self, source: str, place: Place) -> int:
        """Replaces the process; the script is in the working directory, so that it can import from there."""
        place.keep_descriptors()
        os.environ["T2C_DESCRIPTORS"] = f"{place.nonce},{place.done}"
        preloaded = _write(f"{place.temporary}/preloaded.js", self._PRELOADED % NONCE_BYTES)
        script = _write(f"{place.work}/program.js", source)
        os.execvp("node", ["node", "--require", preloaded, script])

    def ran_out_of_memory(self, stderr: str) -> bool:
        """V8 says so before it aborts."""
        return "JavaScript heap out of memory" in stderr


def _write(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
    return path


LANGUAGES: dict[str, Language] = {language.name: language for language in (Python(), Bash(), SQL(), JavaScript())}
