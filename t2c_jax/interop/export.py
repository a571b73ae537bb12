"""A run's model in another's format: written aside, proven to be the same model, then renamed into place."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from t2c_jax import console
from t2c_jax.config import DataConfig, ModelConfig
from t2c_jax.errors import UserError
from t2c_jax.interop.model_card import model_card
from t2c_jax.interop.parity import PROMPTS, reference
from t2c_jax.interop.trained import Trained
from t2c_jax.interop.trained import why_not as why_not_at_all
from t2c_jax.workdir import disk_errors

# What --to may name, and the module with QUANTIZATIONS, LIBRARY, why_not, write, check, usage and differences for it.
FORMATS: Mapping[str, str] = {
    "huggingface": "t2c_jax.interop.export_huggingface",
    "ctranslate2": "t2c_jax.interop.export_ctranslate2",
}
_COMPARED = 8  # prompts in the parity check; the tokenizers are compared on all texts given


def check_request(model: ModelConfig, data: DataConfig, to: str, output: Path, quantization: str) -> None:
    """What is wrong with an export that has not begun, so that no checkpoint is read for nothing.

    Raises:
      UserError: the format cannot hold the model or lacks its library, or the output directory is taken.
    """
    module: Any = importlib.import_module(FORMATS[to])
    if quantization not in module.QUANTIZATIONS:
        raise UserError(
            f"--quantization {quantization} is not for --to {to}; it may be {', '.join(module.QUANTIZATIONS)}"
        )
    if (reason := why_not_at_all(model, data) or module.why_not(model)) is not None:
        raise UserError(reason)
    with disk_errors(output, "--output"):
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
        above = next(path for path in output.absolute().parents if path.exists())
    if taken:
        raise UserError(f"output '{output}' exists and is not empty; choose another --output, or delete it")
    if not above.is_dir():
        raise UserError(f"output '{output}' cannot be, for '{above}' is a file; choose another --output")


def export_model(
    model: Trained, to: str, output: Path, quantization: str, pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Writes the model and its card, and checks it.

    Args:
      model: what to write.
      to: a name in ``FORMATS``.
      output: the directory to make.
      quantization: of the weights.
      pairs: real (source, target) texts to check with; built-in ones where there are none.

    Returns:
      The directory, its files with their bytes, and what the checks of tokenizer and model found.

    Raises:
      UserError: as ``check_request``; or what was written is not the model, and then nothing is left of it.
    """
    check_request(model.config, model.run.data, to, output, quantization)
    module: Any = importlib.import_module(FORMATS[to])
    if model.config.output_heads:
        console.say(f"output heads are not exported: {', '.join(model.config.output_heads)}")
    if model.decode.idf_weight:
        console.warn(f"config.decode.idf_weight is not exported: {module.LIBRARY} has no such bonus")
    real = bool(pairs)
    pairs = pairs or [pair[::-1] if model.objective.to_text else pair for pair in PROMPTS]
    expected = reference(model, pairs[:_COMPARED])
    # A directory that is there stays the one it is: it may be mounted, or the one that the command was given in.
    final, stays = output.resolve(), output.is_dir()
    aside = (final if stays else final.parent) / f".{final.name}.{os.getpid()}.partial"
    with disk_errors(aside, "--output"):
        aside.mkdir(parents=True)
        try:
            written = module.write(model, aside, [text for pair in pairs for text in pair], quantization)
            parity = module.check(model, aside, expected, quantization)
            card = model_card(
                model,
                library=module.LIBRARY,
                usage=module.usage(model),
                differences=module.differences(model),
                quantization=quantization,
                tokenizer=written["tokenizer"],
                parity=parity,
            )
            (aside / "README.md").write_text(card, "utf-8")
            files = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
            if stays:
                for path in aside.iterdir():
                    path.rename(final / path.name)
                aside.rmdir()
            else:
                aside.rename(final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    parity = {**parity, "texts": "dev pairs" if real else "built-in prompts"}
    result = {"output": str(output), "to": to, "step": model.step, "quantization": quantization}
    result |= {"average": model.average} if model.average > 1 else {}
    _show(output, files, written, parity)
    return {**result, "files": files, **written, "parity": parity}


def _show(output: Path, files: Mapping[str, int], written: Mapping[str, Any], parity: Mapping[str, Any]) -> None:
    tokenizer = written["tokenizer"]
    rows = [(name, f"{size:,} bytes") for name, size in files.items()]
    rows += [
        ("checked by", f"{parity['by']}, {parity['prompts']} {parity['texts']}"),
        ("largest difference", f"{parity['largest_log_prob_difference']:.2g} of a log-probability"),
        ("greedy answers", f"{parity['greedy_identical']} of {parity['prompts']} identical"),
        ("tokenizer", f"{tokenizer['texts'] - tokenizer['different']:,} of {tokenizer['texts']:,} texts identical"),
    ]
    console.table(f"t2c export: {output}", ("", "value"), rows)
    console.say(f"how to use it: {output / 'README.md'}")
