"""How a program of each language runs. The server imports this module too, so it needs the standard library only."""

from __future__ import annotations

import abc
import atexit
import linecache
import sys
import threading
import traceback
import types
from collections.abc import Callable

FILE_NAME = "program"


class Language(abc.ABC):
    """A language that the sandbox can run.

    Attributes:
      name: as ``Program.language`` has it.
    """

    name: str

    def missing(self) -> str:
        """What must be installed for this language; empty if nothing is."""
        return ""

    def executables(self) -> list[str]:
        """Paths of programs that must be visible in the sandbox."""
        return []

    @abc.abstractmethod
    def run(self, source: str, completed: Callable[[], None]) -> int:
        """Runs the program in the current process, which is confined and holds nothing else.

        Args:
          source: the code.
          completed: to be called after the last line.

        Returns:
          The exit status, unless the process is replaced by another program.
        """

    def ran_out_of_memory(self, stderr: str) -> bool:
        """Whether a program that failed says that it got no memory."""
        return False


class Python(Language):
    """Python, by the interpreter that runs this package."""

    name = "python"

    def run(self, source: str, completed: Callable[[], None]) -> int:  # noqa: D102
        file = f"{FILE_NAME}.py"
        module = types.ModuleType("__main__")
        module.__file__ = file
        sys.modules["__main__"] = module
        sys.argv = [file]
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        code = 0
        try:
            exec(compile(source, file, "exec"), module.__dict__)
        except SystemExit as stop:
            code = self._exit_code(stop)
            completed = _nothing
        except BaseException as error:
            code = 1
            tail = error.__traceback__.tb_next if error.__traceback__ else None
            traceback.print_exception(type(error), error, tail)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if code == 0:
            completed()
        return code

    @staticmethod
    def _exit_code(stop: SystemExit) -> int:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        sys.stderr.write(f"{stop.code}\n")
        return 1

    def ran_out_of_memory(self, stderr: str) -> bool:  # noqa: D102
        return stderr.rstrip().rpartition("\n")[2].startswith("MemoryError")


def _nothing() -> None:
    pass


LANGUAGES: dict[str, Language] = {language.name: language for language in (Python(),)}
