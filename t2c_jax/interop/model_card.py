"""The card of an exported model: how to use it, what it was trained on, under which licences, and how well it does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2c_jax import version
from t2c_jax.config import to_dict
from t2c_jax.evaluate.checkpoints import evaluations_of
from t2c_jax.evaluate.comparison import score_table
from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.interop.parity import PROMPTS
from t2c_jax.interop.tokenizer_json import in_words
from t2c_jax.interop.trained import Trained
from t2c_jax.models.definition import count
from t2c_jax.tokenizers import sentencepiece as spm


def model_card(
    model: Trained,
    *,
    library: str,
    usage: str,
    differences: Sequence[str],
    quantization: str,
    tokenizer: Mapping[str, int],
    parity: Mapping[str, Any],
) -> str:
    """The card as Markdown, with the header that the Hugging Face hub reads.

    Args:
      model: what was exported.
      library: that loads it.
      usage: Python that answers ``TEXT``, for which an example is put.
      differences: sentences on how the library's search differs from the run's own.
      quantization: of the weights.
      tokenizer: how many texts tokenizer.json was tried on, and how many it reads otherwise than the run did.
      parity: what the export's own check found.
    """
    data = model.run.data
    what = "describes code" if model.objective.to_text else "writes code from text"
    lines = [
        "---",
        f"library_name: {library}",
        "tags:",
        *(f"- {tag}" for tag in ("text2text-generation", "code", "t2c-jax")),
        "---",
        "",
        f"# {model.run.workdir.title}",
        "",
        f"A Transformer of {count(model.params):,} parameters ({quantization}) that {what}, trained with t2c_jax"
        f" {version.__version__}: {_which(model)} of its run.",
        "",
        "## Use",
        "",
        "```python",
        usage.strip().replace("TEXT", repr(_example(model))),
        "```",
        "",
        f"Sources were at most {data.encoder_length:,} tokens long in training. The run's own search:"
        f" {_search(to_dict(model.decode))}. It never writes padding, sentinels and other special pieces.",
        "",
        "How the search above differs from it:",
        "",
        *(f"- {sentence}" for sentence in differences),
    ]
    if data.prefix:
        lines += ["", f"The tokenizer puts the prefix {data.prefix!r} before every text, as in training."]
    if in_words(model.tokenizers.code):
        lines += [
            "",
            "Code is one line, whose words `NEW_LINE`, `INDENT` and `DEDENT` are its layout, as PLBART was trained."
            f" The run's own tokenizer makes them of code and code of them; {library} does not.",
        ]
    lines += ["", *_data(model), *_scores(model), *_parity(model, tokenizer, parity)]
    return "\n".join(lines)


def _search(decode: Mapping[str, Any]) -> str:
    beams = "greedy" if decode["beam_size"] == 1 else f"{decode['beam_size']} beams"
    parts = [
        f"{beams}, ranked by log p / length**{decode['length_penalty']:g}",
        f"at most {decode['max_tokens']:,} tokens",
    ]
    if decode["no_repeat_ngram_size"]:
        parts.append(f"no {decode['no_repeat_ngram_size']} tokens in a row twice")
    if decode["idf_weight"]:
        parts.append(f"{decode['idf_weight']:g} log(N / n) added to the log-probability of each token")
    return ", ".join(parts)


def _which(model: Trained) -> str:
    mean = f", the mean of its latest {model.average} checkpoints up to it," if model.average > 1 else ""
    return f"checkpoint {model.step}{mean}"


def _example(model: Trained) -> str:
    text, code = PROMPTS[2]
    if model.objective.to_text:
        return code
    return f"def is_valid(name)\n{text}" if model.text.startswith("signature") else text


def _data(model: Trained) -> list[str]:
    card = _read(model.run.workdir.corpus / "card.json")
    title = ["## What it was trained on", ""]
    if card is None:
        origin = model.run.origin.run
        said = "The run's directory holds no corpus: look where the model came from for its data and their licences."
        started = origin and "parameters" in model.run.origin.take
        return [*title, f"{said} It started from `{Path(origin).name}`." if started else said, ""]
    pairs = ", ".join(f"{count:,} {split}" for split, count in card["splits"].items())
    columns = ("name", "repository", "commit", "licence", "pairs")
    rows = [tuple(source.get(column) or "-" for column in columns) for source in card["sources"]]
    rows = [
        (Path(name).name if Path(name).is_absolute() else name, *rest) for name, *rest in rows
    ]  # cards are published
    lines = [*title, f"Pairs of text and code: {pairs}.", "", *_table(columns, rows)]
    if model.run.origin.run and "parameters" in model.run.origin.take:
        lines += [
            f"Before, it was trained elsewhere: the run started from `{Path(model.run.origin.run).name}`.",
            "",
        ]
    return [
        *lines,
        "Licences of the pairs, as far as they are known; whether and how they bind the model is for its user to"
        " judge:",
        "",
        *_table(("licence", "pairs"), card["licences"].items()),
    ]


def _scores(model: Trained) -> list[str]:
    found = evaluations_of(model.run.workdir, model.step, model.average)
    if not found:
        return ["## Scores", "", "None were measured.", ""]
    metric = model.stop_metric
    chosen_by = "the loss" if metric == "loss" else f"{metric} of decoded answers"
    lines = [
        "## Scores",
        "",
        "The baseline answers with the code of the nearest training pair; ± is a standard error. The run chose its best"
        f" checkpoint by {chosen_by} on dev pairs, so scores on dev pairs are higher than on pairs that chose nothing.",
        "",
    ]
    for scores in found:
        which = "all" if scores["size"] == "all" else "a selection by id of the"
        columns, rows = score_table(metrics_named(tuple(scores["model"])), scores)
        own = to_dict(model.decode)
        same = all(scores["decode"][name] == own[name] for name in own if name != "batch_size")
        search = "the run's own search" if same else "another search than the run's own"
        lines += [
            f"On {scores['examples']:,} {scores['split']} pairs, {which} {scores['split']} split's, by"
            f" {search} ({_search(scores['decode'])}):",
            "",
            *_table(columns, rows),
            scores["summary"],
            "",
        ]
    return lines


def _parity(model: Trained, tokenizer: Mapping[str, int], found: Mapping[str, Any]) -> list[str]:
    texts = f"`tokenizer.json` gives {tokenizer['texts']:,} texts the ids that the run's tokenizer gives them."
    if tokenizer["different"]:
        exact = ", which is `spm.model`" if (model.tokenizer_files / spm.MODEL).exists() else ""
        texts = (
            f"`tokenizer.json` reads {tokenizer['different']:,} of {tokenizer['texts']:,} texts as other ids than the"
            f" run's tokenizer{exact}."
        )
    if model.tokenizer.is_byte.any():
        texts += (
            " An answer that was cut within a character decodes otherwise: of a run of byte pieces that is not UTF-8"
            " `tokenizer.json` makes U+FFFD for every byte, the run's tokenizer for its incomplete end only."
        )
    return [
        "## Parity",
        "",
        f"Checked at export against the run's own model, by {found['by']}: over {found['tokens']:,} tokens of"
        f" {found['prompts']} prompts the largest difference of a log-probability is"
        f" {found['largest_log_prob_difference']:.1g}; {found['greedy_identical']} of {found['prompts']} greedy answers"
        f" are the same token for token. {texts}",
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
