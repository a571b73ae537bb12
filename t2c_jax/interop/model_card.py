"""The card of an exported model: how to use it, what it was trained on, under which licences, and how well it does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import t2c_jax
from t2c_jax.evaluate.comparison import score_table
from t2c_jax.evaluate.metrics import metrics_named
from t2c_jax.interop.parity import PROMPTS
from t2c_jax.interop.trained import Trained
from t2c_jax.models.definition import count
from t2c_jax.workdir import evaluation_name


def model_card(
    model: Trained,
    library: str,
    usage: str,
    quantization: str,
    tokenizer: Mapping[str, int],
    parity: Mapping[str, Any],
) -> str:
    """The card as Markdown, with the header that the Hugging Face hub reads.

    Args:
      model: what was exported.
      library: that loads it.
      usage: Python that answers ``TEXT``, for which an example is put.
      quantization: of the weights.
      tokenizer: how many texts tokenizer.json was tried on, and how many it reads otherwise than the run did.
      parity: what the export's own check found.
    """
    data, decode = model.experiment.data, model.experiment.decode
    what = "describes code" if model.objective.to_text else "writes code from text"
    repeats = f", none of {decode.no_repeat_ngram_size} in a row twice" if decode.no_repeat_ngram_size else ""
    lines = [
        "---",
        f"library_name: {library}",
        "tags:",
        *(f"- {tag}" for tag in ("text2text-generation", "code", "t2c-jax")),
        "---",
        "",
        f"# {model.workdir.title}",
        "",
        f"A Transformer of {count(model.params):,} parameters ({quantization}) that {what}, trained with t2c_jax"
        f" {t2c_jax.__version__}: {_which(model)} of its run.",
        "",
        "## Use",
        "",
        "```python",
        usage.strip().replace("TEXT", repr(_example(model))),
        "```",
        "",
        f"Sources were at most {data.encoder_length:,} tokens long in training; the run's own search kept"
        f" {decode.beam_size} beam(s), ranked by log p / length**{decode.length_penalty:g}, for at most"
        f" {decode.max_tokens:,} tokens{repeats}.",
    ]
    if data.prefix:
        lines += ["", f"The tokenizer puts the prefix {data.prefix!r} before every text, as in training."]
    lines += ["", *_data(model), *_scores(model), *_parity(tokenizer, parity)]
    return "\n".join(lines)


def _which(model: Trained) -> str:
    mean = f", the mean of its latest {model.average} checkpoints up to it," if model.average > 1 else ""
    return f"checkpoint {model.step}{mean}"


def _example(model: Trained) -> str:
    text, code = PROMPTS[2]
    if model.objective.to_text:
        return code
    return f"def is_valid(name)\n{text}" if model.experiment.corpus.text.startswith("signature") else text


def _data(model: Trained) -> list[str]:
    card = _read(model.workdir.corpus / "card.json")
    title = ["## What it was trained on", ""]
    if card is None:
        origin = model.experiment.init_from
        said = "The run's directory holds no corpus: look where the model came from for its data and their licences."
        started = origin and not model.experiment.from_scratch
        return [*title, f"{said} It started from `{Path(origin).name}`." if started else said, ""]
    pairs = ", ".join(f"{count:,} {split}" for split, count in card["splits"].items())
    columns = ("name", "repository", "commit", "licence", "pairs")
    rows = [tuple(source.get(column) or "-" for column in columns) for source in card["sources"]]
    rows = [
        (Path(name).name if Path(name).is_absolute() else name, *rest) for name, *rest in rows
    ]  # cards are published
    lines = [*title, f"Pairs of text and code: {pairs}.", "", *_table(columns, rows)]
    if model.experiment.init_from and not model.experiment.from_scratch:
        lines += [
            f"Before, it was trained elsewhere: the run started from `{Path(model.experiment.init_from).name}`.",
            "",
        ]
    return [
        *lines,
        "Licences of the pairs, as far as they could be told; whether and how they bind the model is for its user to"
        " judge:",
        "",
        *_table(("licence", "pairs"), card["licences"].items()),
    ]


def _scores(model: Trained) -> list[str]:
    scores = _read(model.workdir.current(evaluation_name(model.step, model.average)) / "scores.json")
    if scores is None:
        return ["## Scores", "", "None were measured.", ""]
    columns, rows = score_table(metrics_named(tuple(scores["model"])), scores)
    return [
        "## Scores",
        "",
        f"On {scores['examples']:,} held-out pairs, by the run's own search, beside the answer of the nearest training"
        " pair; ± is a standard error.",
        "",
        *_table(columns, rows),
        scores["summary"],
        "",
    ]


def _parity(tokenizer: Mapping[str, int], found: Mapping[str, Any]) -> list[str]:
    texts = f"`tokenizer.json` gives {tokenizer['texts']:,} texts the ids that the run's tokenizer gives them"
    if tokenizer["different"]:
        texts = (
            f"`tokenizer.json` reads {tokenizer['different']:,} of {tokenizer['texts']:,} texts as other ids than the"
            " run's tokenizer, which is `spm.model`"
        )
    return [
        "## Parity",
        "",
        f"Checked at export against the run's own model, by {found['by']}: over {found['tokens']:,} tokens of"
        f" {found['prompts']} prompts the largest difference of a log-probability is"
        f" {found['largest_log_prob_difference']:.1g}; {found['greedy_identical']} of {found['prompts']} greedy answers"
        f" are the same token for token. {texts}.",
        "",
    ]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    body = [[_cell(cell) for cell in row] for row in rows]
    grid = [list(columns), ["---"] * len(columns), *body]
    return [*("| " + " | ".join(row) + " |" for row in grid), ""]


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
