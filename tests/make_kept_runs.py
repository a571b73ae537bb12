"""Makes ``tests/kept_runs``: one tiny run of each kind as this version of the code leaves it, an archive each.

They are test data, not to be made again: every later version has to open them (``test_kept_runs.py``). A new kind of
run is added here, and made with ``python tests/make_kept_runs.py NAME``, which leaves the others as they are.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

KEPT = Path(__file__).resolve().parent / "kept_runs"
PAIRS = "pairs.jsonl"
PROMPT = "Return item 3 of the values."
COMMON = {
    "corpus.sources": PAIRS,
    "tokenizer.vocab_size": 384,
    "tokenizer.sentinels": 4,
    "data.encoder_length": 32,
    "data.decoder_length": 48,
    "data.batch_size": 8,
    "model.width": 8,
    "optimizer.warmup_steps": 2,
    "train.steps": 8,
    "train.log_every": 2,
    "train.save_every": 4,
    "train.eval_every": 4,
    "train.eval_batches": 1,
    "train.samples": 0,
    "train.keep": 1,
    "decode.beam_size": 2,
    "decode.max_tokens": 6,
    "decode.batch_size": 8,
    "evaluate.max_examples": 4,
    "evaluate.bootstrap_samples": 10,
}
TRANSFORMER = {
    f"model.{side}.{key}": value
    for side in ("encoder", "decoder")
    for key, value in {"layers": 1, "num_heads": 2, "head_width": 4, "feed_forward": 16}.items()
}
T5 = {**TRANSFORMER, "model.encoder": "t5", "model.decoder": "t5"}  # what other formats hold
LSTM = {
    "model.encoder": "lstm",
    "model.decoder": "lstm",
    **{
        f"model.{side}.{key}": value
        for side in ("encoder", "decoder")
        for key, value in {"layers": 1, "width": 8}.items()
    },
}
# The origin of a run comes before it.
RUNS = {
    "half_way": {**T5, "train.keep": 2},
    "copying": {**TRANSFORMER, "model.copy": True, "train.ema_decay": 0.9},
    "lora": {**T5, "origin.run": "half_way", "origin.step": 4, "lora.rank": 2},
    "lstm": LSTM,
    "retrieving": {  # without moments of an optimizer it is small
        **TRANSFORMER,
        "model.copy": True,
        "optimizer.name": "sgd",
        "data.retrieve.neighbours": 1,
        "data.retrieve.tokens": 40,
        "data.encoder_length": 72,
    },
}


def write_pairs(path: Path) -> None:
    """Forty pairs in three splits."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(40):
            pair = {
                "text": f"Return item {i} of the values.",
                "code": f"def item_{i}(values):\n    return values[{i}]\n",
                "split": {8: "dev", 9: "test"}.get(i % 10, "train"),
            }
            file.write(json.dumps(pair) + "\n")


def make_run(name: str) -> None:
    """Trains a run in the current directory."""
    from small_run import main

    Path("config.py").write_text(
        "from t2c_jax import config as schema\n\n\ndef get_config():\n    return schema.default()\n"
    )
    options = [f"--config.{key}={value}" for key, value in (COMMON | RUNS[name]).items()]
    for command in ("mine", "tokenizer", "prepare", "train"):
        if main(command, "--config", "config.py", "--workdir", name, *options):
            raise SystemExit(f"t2c {command} failed for {name}")
    if name == "half_way":  # as a run is that was killed before it wrote its last checkpoint
        shutil.rmtree(Path(name) / "checkpoints" / "8")


def make_import(name: str) -> None:
    """Imports a T5 with random parameters into the current directory."""
    from huggingface_models import write

    from t2c_jax.interop.import_model import import_model
    from t2c_jax.workdir import Workdir

    write("t5", Path("model"))
    import_model(Path("model"), Workdir(name))
    shutil.rmtree("model")


def main(names: list[str]) -> None:
    """Makes the runs that are named, or all of them."""
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        write_pairs(Path(PAIRS))
        for archive in KEPT.glob("*.tar.xz"):  # what a new one may start from
            with tarfile.open(archive) as file:
                file.extractall(filter="data")
        for name in names or [*RUNS, "imported_t5"]:
            shutil.rmtree(name, ignore_errors=True)
            make_import(name) if name == "imported_t5" else make_run(name)
            with tarfile.open(KEPT / f"{name}.tar.xz", "w:xz") as file:
                file.add(name, filter=without_traces)
            keep_answer(name)
        shutil.copy(PAIRS, KEPT / PAIRS)


def keep_answer(name: str) -> None:
    """Writes what the run answers, for later versions to answer the same."""
    from small_run import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if main("generate", "--workdir", name, "--json", PROMPT):
            raise SystemExit(f"t2c generate failed for {name}")
    path = KEPT / "answers.json"
    answers = json.loads(path.read_text("utf-8")) if path.exists() else {}
    (answers[name],) = json.loads(out.getvalue())
    path.write_text(json.dumps(answers, indent=1) + "\n", "utf-8")


def without_traces(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Neither who made it nor what no run needs: logs for TensorBoard, and Orbax's notes with absolute paths."""
    if Path(member.name).name in ("tb", ".lock", "commit_success.txt"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
    main(sys.argv[1:])
