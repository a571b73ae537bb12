"""How an answer is run and judged, by its language and by what its pair has: tests, or a reference alone."""

from __future__ import annotations

import re
import secrets
import shlex
from abc import ABC, abstractmethod

from t2c_jax.evaluate.execution.judgement import Judgement, exception_line, last_line, limit_broken, one_line
from t2c_jax.evaluate.execution.sql_result import sql_difference, sql_program
from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.execution import Execution
from t2c_jax.sandbox.outcomes import Outcome, Program

_PYTHON = """\
import linecache, sys, types
module = sys.modules["answer"] = types.ModuleType("answer")
linecache.cache["answer.py"] = (0, None, {source}.splitlines(True), "answer.py")
for part in ({setup}, {source}):
    exec(compile(part, "answer.py", "exec"), module.__dict__)
"""
_DOCTEST = """\
import doctest
test = doctest.DocTestParser().get_doctest({doctest}, module.__dict__, "answer", None, 0)
try:
    doctest.DebugRunner(verbose=False).run(test, clear_globs=False)
except doctest.DocTestFailure as failure:
    source, want, got = failure.example.source.strip(), failure.example.want.strip(), failure.got.strip()
    raise AssertionError(f"{{source}} gave {{got}}, not {{want}}") from None
except doctest.UnexpectedException as failure:
    raise failure.exc_info[1] from None
"""
_REACHED, _SEPARATOR = secrets.token_hex(16), secrets.token_hex(16)  # what no answer knows
_SHELL_UNREAD = re.compile(r"\bline \d+: (?:syntax error|unexpected EOF).*")
_NODE_ERROR = re.compile(r"(?:Uncaught )?\w*Error\b.*:")


class Runner(ABC):
    """Runs and judges answers in one language.

    Attributes:
      language: of the program, as the sandbox names it.
      compares: whether an answer is compared with the reference, since there are no tests.
    """

    language: str
    compares = False

    @abstractmethod
    def program(self, tests: Execution, answer: str, setup: str) -> Program:
        """The program of an answer.

        Args:
          tests: of the pair.
          answer: the code.
          setup: lines of config.evaluate.execution.setup.
        """

    def judge(self, outcome: Outcome, expected: Outcome | None, reference: str) -> Judgement:
        """What an outcome means.

        Args:
          outcome: of the answer's program.
          expected: of the reference's program, where answers are compared with it.
          reference: the code of the reference.
        """
        if broken := limit_broken(outcome):
            return broken
        if outcome.status != "passed":
            return self.failure(outcome)
        difference = self.difference(outcome, expected, reference) if self.compares and expected is not None else ""
        return Judgement("failed", one_line(difference)) if difference else Judgement("passed")

    @abstractmethod
    def failure(self, outcome: Outcome) -> Judgement:
        """The judgement of a program that failed."""

    def unread(self, outcome: Outcome) -> str:
        """What the language says of code that it cannot read; empty where it says it by failing, or read it."""
        return ""

    def difference(self, outcome: Outcome, expected: Outcome, reference: str) -> str:
        """How an outcome differs from the reference's; empty if it does not."""
        return ""


class PythonTests(Runner):
    """Python with assertions or a doctest after it. As in the published harnesses, ``__name__`` is not ``__main__``."""

    language = "python"

    def program(self, tests: Execution, answer: str, setup: str) -> Program:
        """A module named ``answer``, and behind it the doctest."""
        source = _PYTHON.format(setup=repr(setup), source=repr(tests.source(answer)))
        if tests.doctest:
            source += _DOCTEST.format(doctest=repr(tests.doctest))
        return Program(self.language, source, tests.stdin, tests.files)

    def failure(self, outcome: Outcome) -> Judgement:
        """Failed by an assertion, or broken off by another exception."""
        message = exception_line(outcome.stderr) or outcome.reason
        return Judgement("failed" if message.startswith("AssertionError") else "error", message)


class JavascriptTests(Runner):
    """JavaScript with a test after it, which fails by an exception."""

    language = "javascript"

    def program(self, tests: Execution, answer: str, setup: str) -> Program:
        """All parts one after the other."""
        return Program(self.language, f"{setup}\n{tests.source(answer)}", tests.stdin, tests.files)

    def failure(self, outcome: Outcome) -> Judgement:
        """Failed by an assertion, or broken off by another error; Node names it on a line of its own."""
        named = [line for line in outcome.stderr.splitlines() if _NODE_ERROR.match(line)]
        message = one_line(named[0]) if named else last_line(outcome.stderr) or outcome.reason
        return Judgement("failed" if message.startswith("AssertionError") else "error", message)


class ShellTests(Runner):
    """A shell script with a test after it, which fails by the first command that does."""

    language = "bash"

    def program(self, tests: Execution, answer: str, setup: str) -> Program:
        """All parts one after the other, and a line that says that the last one was reached."""
        code = Execution(tests.setup, tests.prefix, tests.suffix).source(answer)
        source = f"{setup}\n{code}set -e\n{Execution(test=tests.test).source('')}printf '\\n%s' {_REACHED}\n"
        return Program(self.language, source, tests.stdin, tests.files)

    def failure(self, outcome: Outcome) -> Judgement:
        """Failed, whichever command did."""
        return Judgement("failed", last_line(outcome.stderr) or outcome.reason)

    def unread(self, outcome: Outcome) -> str:
        """Bash's complaint."""
        return _shell_unread(outcome)

    def judge(self, outcome: Outcome, expected: Outcome | None, reference: str) -> Judgement:
        """Passed only if the test ran: an answer may exit before it."""
        found = super().judge(outcome, expected, reference)
        if found.status == "passed" and not outcome.stdout.endswith(_REACHED):
            return Judgement("error", "exited with status 0 before its tests")
        return found


def _shell_unread(outcome: Outcome) -> str:
    found = _SHELL_UNREAD.search(outcome.stderr)
    return one_line(found[0]) if found else ""


class SqlMatch(Runner):
    """SQL that has to give the same rows and to leave the same database as the reference (``sql_result``)."""

    language = "python"
    compares = True

    def program(self, tests: Execution, answer: str, setup: str) -> Program:
        """Python around the answer."""
        code = Execution(prefix=tests.prefix, suffix=tests.suffix).source(answer)
        return Program(self.language, sql_program(f"{setup}\n{tests.setup}", code))

    def failure(self, outcome: Outcome) -> Judgement:
        """SQLite's error."""
        return Judgement("error", exception_line(outcome.stderr) or outcome.reason)

    def difference(self, outcome: Outcome, expected: Outcome, reference: str) -> str:
        """Rows, their order where the reference orders them, and the database afterwards."""
        return sql_difference(outcome.stdout, expected.stdout, reference)


class ShellMatch(Runner):
    """A shell script that has to write the same and to leave the same files as the reference.

    Compared are standard output, without space at the ends of lines, and of each file below the working directory its
    path, kind and permissions, and its content or the target of a link. Exit status, standard error and times are not.
    """

    language = "bash"
    compares = True

    def program(self, tests: Execution, answer: str, setup: str) -> Program:
        """A script that runs the answer and then lists the files."""
        lines = [
            setup,
            tests.setup,
            f"bash -c {shlex.quote(f'{tests.prefix}{answer}{tests.suffix}')}",
            f"printf '\\n%s\\n' {_SEPARATOR}",
            "find . -mindepth 1 -printf '%m %P\\n' | LC_ALL=C sort",
        ]
        return Program(self.language, "\n".join(lines), tests.stdin, tests.files, return_files=True)

    def failure(self, outcome: Outcome) -> Judgement:
        """The script around the answer failed: the answer ended it, or took away what it needs."""
        return Judgement("error", last_line(outcome.stderr) or outcome.reason)

    def unread(self, outcome: Outcome) -> str:
        """Bash's complaint: the script around the answer goes on."""
        return _shell_unread(outcome)

    def difference(self, outcome: Outcome, expected: Outcome, reference: str) -> str:
        """Output and files."""
        (ours, our_modes), (theirs, their_modes) = _written(outcome), _written(expected)
        if ours != theirs:
            complaint = last_line(outcome.stderr)
            return f"the output differs ({complaint})" if complaint else "the output differs"
        for path in sorted({*outcome.files, *expected.files}):
            if path not in outcome.files:
                return f"'{path}' is missing"
            if path not in expected.files:
                return f"'{path}' should not be there"
            if outcome.files[path] != expected.files[path]:
                return f"'{path}' differs"
        return "permissions differ" if our_modes != their_modes else ""


def _written(outcome: Outcome) -> tuple[list[str], str]:
    """The lines that the answer wrote, and the permissions of the files."""
    output, _, modes = outcome.stdout.rpartition(f"\n{_SEPARATOR}\n")
    return [line.rstrip() for line in output.rstrip().split("\n")], modes


WITH_TESTS: dict[str, Runner] = {
    "python": PythonTests(),
    "shell": ShellTests(),
    "javascript": JavascriptTests(),
}
COMPARED: dict[str, Runner] = {"sql": SqlMatch(), "shell": ShellMatch()}


def runner_for(tests: Execution, language: str) -> Runner | None:
    """Who runs answers in a language: on tests where there are some, otherwise beside the reference. None: nobody."""
    return (WITH_TESTS if tests.has_tests else COMPARED).get(canonical(language))
