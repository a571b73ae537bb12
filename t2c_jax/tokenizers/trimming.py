"""A vocabulary cut down to the pieces that certain texts need: T5Gemma's 256,000 are mostly of other languages.

A text whose pieces are all kept is read as the same pieces, which follows for each kind of model:

- BPE: a piece arises by merges within its own letters, in the order of their ranks. All pieces on that way are kept
  with their merges, so every merge of such a text is there, and those left out would not have been made.
- Unigram: the best segmentation is still there, and others only became fewer. An unknown letter's score depends on
  the lowest score of all, whose piece is kept; and a letter that has a piece keeps it, where a kept piece holds it.
- WordPiece: of the pieces that begin a word's rest the longest wins, and it is kept.

Bytes, special pieces and a letter's own piece (every letter's, where no bytes stand in for it) are kept too, so every
other text is read as smaller pieces, and nothing becomes unknown that was not.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Library

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.huggingface import MODEL, PLBART, SPECIALS, HuggingFaceTokenizer, byte_alphabet, is_byte_level
from t2c_jax.workdir import write_json

TRIMMED = "trimmed.json"

_MULTIPLE = 128  # rows of a table, so that it splits evenly over devices and fills tiles
_CONTINUES = "##"
_TEXTS = 1024  # encoded at once


@dataclass(frozen=True)
class Trimming:
    """Which rows of a model's tables were kept.

    Attributes:
      model: the directory that the model was imported from.
      digest: of that directory's files.
      rows: rows of its tables.
      ids: for each kept row, in order, its number there.
    """

    model: str
    digest: str
    rows: int
    ids: tuple[int, ...]

    @classmethod
    def read(cls, directory: Path) -> Trimming | None:
        """What ``trim`` left beside a tokenizer; None where its vocabulary is whole.

        Raises:
          UserError: the file is damaged.
        """
        path = directory / TRIMMED
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text("utf-8"))
            ids = tuple(map(int, values.pop("ids")))
            return cls(**values, ids=ids)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"'{path}' is damaged: {error}; import the model again") from None


def used_ids(tokenizer: HuggingFaceTokenizer, texts: Iterable[str]) -> set[int]:
    """The ids of all texts."""
    used_V = np.zeros(tokenizer.vocab_size, bool)
    batch: list[str] = []

    def mark() -> None:
        for ids in tokenizer.encode_batch(batch):
            used_V[ids] = True
        batch.clear()

    for text in texts:
        batch.append(text)
        if len(batch) == _TEXTS:
            mark()
    mark()
    return set(np.flatnonzero(used_V).tolist())


def kept_ids(directory: Path, used: set[int], rows: Collection[int] = ()) -> list[int]:
    """The ids to keep, ascending: what the module's docstring says, filled up with the first of the others.

    Args:
      directory: of a tokenizer in the form of ``HuggingFaceTokenizer``.
      used: ids that texts have.
      rows: ids that the model needs, whether they have a piece or not.

    Raises:
      UserError: its kind of model cannot be trimmed.
    """
    layout, specials = _files(directory)
    model, pieces = layout["model"], _pieces(layout)
    ids = {piece: i for i, piece in pieces.items()}
    kept = {i for i in used if i in pieces} | _special(layout, specials)
    if model.get("byte_fallback"):
        kept |= {ids[byte] for byte in map("<0x{:02X}>".format, range(256)) if byte in ids}
    if is_byte_level(layout):
        kept |= {ids[letter] for letter in byte_alphabet() if letter in ids}
    writes_bytes = model.get("byte_fallback") or is_byte_level(layout)
    if writes_bytes:
        letters = {letter for i in kept for letter in pieces[i]}
        kept |= {ids[letter] for letter in letters if letter in ids}
    else:
        kept |= {i for piece, i in ids.items() if len(piece.removeprefix(_CONTINUES)) == 1}
    if unk := model.get("unk_token"):
        kept.add(ids[unk])
    if model["type"] == "BPE":
        if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            raise UserError("a BPE model with marks of a word's parts cannot be trimmed; import it whole")
        kept |= _merged_on_the_way(model, ids, [pieces[i] for i in kept])
    elif model["type"] == "Unigram":
        kept.add(min(range(len(model["vocab"])), key=lambda i: model["vocab"][i][1]))
        kept.add(model["unk_id"])
    elif model["type"] != "WordPiece":
        raise UserError(f"a vocabulary of type {model['type']} cannot be trimmed; import the model whole")
    kept |= set(rows)
    missing = -len(kept) % _MULTIPLE
    others = (i for i in sorted(pieces) if i not in kept)
    return sorted(kept.union(i for i, _ in zip(others, range(missing), strict=False)))


def trim(directory: Path, kept: list[int]) -> HuggingFaceTokenizer:
    """Rewrites a tokenizer's files to the ids kept, which become 0, 1, 2 … in their order.

    Raises:
      UserError: the pieces do not come out as they were.
    """
    layout, specials = _files(directory)
    new = {old: i for i, old in enumerate(kept)}
    before = _pieces(layout)
    (directory / MODEL).write_text(json.dumps(_trimmed(layout, new), ensure_ascii=False), "utf-8")
    changed = {name: _renumbered(value, new) for name, value in specials.items() if name != "vocab_size"}
    write_json(directory / SPECIALS, {**changed, "vocab_size": len(kept)})
    (directory / PLBART).unlink(missing_ok=True)  # it has the whole vocabulary
    found = Library.from_file(str(directory / MODEL))
    if wrong := [before[old] for old, i in new.items() if old in before and found.id_to_token(i) != before[old]]:
        raise UserError(f"the vocabulary cannot be trimmed: the piece {wrong[0]!r} gets another id; import it whole")
    return HuggingFaceTokenizer(directory)


def write_trimming(directory: Path, trimming: Trimming) -> None:
    """Writes what ``Trimming.read`` reads."""
    write_json(directory / TRIMMED, asdict(trimming))


def _files(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    layout, specials = (json.loads((directory / name).read_text("utf-8")) for name in (MODEL, SPECIALS))
    return layout, specials


def _pieces(layout: Mapping[str, Any]) -> dict[int, str]:
    """The piece of each id."""
    vocab = layout["model"]["vocab"]
    named = enumerate(piece for piece, _ in vocab) if isinstance(vocab, list) else ((i, p) for p, i in vocab.items())
    return dict(named) | {added["id"]: added["content"] for added in layout["added_tokens"]}


def _special(layout: Mapping[str, Any], specials: Mapping[str, Any]) -> set[int]:
    """Ids that the model's structure needs."""
    found = {added["id"] for added in layout["added_tokens"] if added["special"]}
    for name, value in specials.items():
        if name != "vocab_size":
            values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            found.update(i for i in values if isinstance(i, int) and i >= 0)
    return found


def _merged_on_the_way(model: Mapping[str, Any], ids: Mapping[str, int], pieces: Iterable[str]) -> set[int]:
    """Ids of what merges make of each piece's letters until the piece is there."""
    ranks = {pair: rank for rank, pair in enumerate(map(_pair, model["merges"]))}
    found: set[int] = set()
    for piece in pieces:
        parts = list(piece)
        while len(parts) > 1:
            rank, place = min((ranks.get(pair, len(ranks)), i) for i, pair in enumerate(itertools.pairwise(parts)))
            if rank == len(ranks):
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
            found.add(ids[parts[place]])
    return found


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _trimmed(layout: dict[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    layout = copy.deepcopy(layout)
    model = layout["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in new]
        model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = {piece: new[i] for piece, i in model["vocab"].items() if i in new}
    if model["type"] == "BPE":
        pairs, vocab = map(_pair, model["merges"]), model["vocab"]
        model["merges"] = [pair for pair in pairs if {*pair, "".join(pair)} <= vocab.keys()]
    added = [{**one, "id": new[one["id"]]} for one in layout["added_tokens"] if one["id"] in new]
    layout["added_tokens"] = added
    layout["post_processor"] = _processor(layout["post_processor"], new)
    return layout


def _processor(value: Any, new: Mapping[int, int]) -> Any:
    """A post-processor with other ids: of templates under ``ids``, of BERT's and RoBERTa's beside their pieces."""
    if isinstance(value, list):
        return [_processor(one, new) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {}
    for name, inner in value.items():
        if name == "ids":
            changed[name] = [new[i] for i in inner]
        elif name in ("sep", "cls"):
            changed[name] = [inner[0], new[inner[1]]]
        else:
            changed[name] = _processor(inner, new)
    return changed


def _renumbered(value: Any, new: Mapping[int, int]) -> Any:
    if isinstance(value, list):
        return [new[i] for i in value]
    if isinstance(value, dict):
        return {name: new[i] for name, i in value.items()}
    return new[value] if isinstance(value, int) and value >= 0 else value
