"""The commands of ``t2c``, a module each. None of them imports a heavy library before it runs."""

from argparse import ArgumentParser, Namespace
from types import MappingProxyType
from typing import Protocol

from t2c_jax.commands import (
    compare,
    embed,
    evaluate,
    export,
    generate,
    import_model,
    inspect,
    mcp,
    mine,
    prepare,
    reproduce,
    rerank,
    review,
    run,
    serve,
    tokenizer,
    train,
)
from t2c_jax.commands import compile as compile_


class Command(Protocol):
    """What the module of a command has."""

    SUMMARY: str

    def add_arguments(self, parser: ArgumentParser, /) -> None:
        """Adds the command's options."""
        ...

    def run(self, options: Namespace, /) -> int:
        """Runs the command and returns its exit status."""
        ...


COMMANDS: MappingProxyType[str, Command] = MappingProxyType(
    {
        "run": run,
        "mine": mine,
        "tokenizer": tokenizer,
        "prepare": prepare,
        "train": train,
        "evaluate": evaluate,
        "compare": compare,
        "rerank": rerank,
        "review": review,
        "generate": generate,
        "embed": embed,
        "serve": serve,
        "mcp": mcp,
        "inspect": inspect,
        "compile": compile_,
        "import": import_model,
        "export": export,
        "reproduce": reproduce,
    }
)
