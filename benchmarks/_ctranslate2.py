"""CTranslate2 with the weights of a run: its export, and text in and out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def export(workdir: str, directory: Path) -> None:
    """The run in CTranslate2's format, float32."""
    command = [sys.executable, "-c", "import sys; from t2c_jax.cli import main; sys.exit(main())", "export"]
    arguments = ["--workdir", workdir, "--to", "ctranslate2", "--output", str(directory)]
    subprocess.run([*command, *arguments], check=True, stdout=sys.stderr)


class Vocabulary:
    """Prompts to the tokens that CTranslate2 reads, as the run encodes them, and its tokens to texts."""

    def __init__(self, workdir: str, exported: Path) -> None:
        """Of a run and its export."""
        from t2c_jax import config as configs
        from t2c_jax.data.tasks.translation import translation
        from t2c_jax.tokenizers.loading import Tokenizers
        from t2c_jax.workdir import Workdir

        found = Workdir(workdir)
        data = configs.load(str(found.config)).data
        tokenizers = Tokenizers.load(found.tokenizer, data.direction)
        self.tokenizer = tokenizers.target
        self._template = translation(tokenizers, data).source
        self.room = data.encoder_length - self._template.extra_tokens
        self._names: list[str] = json.loads((exported / "shared_vocabulary.json").read_text("utf-8"))
        self._ids = {name: i for i, name in enumerate(self._names)}

    def sources(self, prompts: Sequence[str]) -> list[list[str]]:
        """The tokens of prompts; what the encoder has no room for is cut."""
        ids = self.tokenizer.encode_batch(prompts)
        return [[self._names[token] for token in self._template(each[: self.room]).tolist()] for each in ids]

    def text(self, tokens: Sequence[str]) -> tuple[str, bool]:
        """The text of an answer, and whether it ends with the end token."""
        ids = [self._ids[name] for name in tokens]
        return self.tokenizer.decode(ids), ids[-1:] == [self.tokenizer.eos]


def search_arguments(decode: Any, beams: int, patience: int) -> dict[str, Any]:
    """Arguments of ``translate_batch`` for a search with the settings of ``decode``."""
    return {
        "beam_size": beams,
        "patience": max(1, patience),
        "length_penalty": decode.length_penalty,
        "no_repeat_ngram_size": decode.no_repeat_ngram_size,
        "min_decoding_length": 0,  # 1 by default, by which an empty answer is not possible
        "max_decoding_length": decode.max_tokens,
        "max_input_length": 0,  # 1,024 by default, at which sources are cut
        "return_end_token": True,
    }
