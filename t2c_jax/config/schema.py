"""The experiment: every field once, typed, with its unit and reason.

Fields of an encoder or a decoder are in the config class of its architecture (``config.architectures``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from t2c_jax.config.architectures import ModelConfig
from t2c_jax.config.fields import Section, field
from t2c_jax.config.pair_columns import parse_columns
from t2c_jax.config.rates import parse_rates
from t2c_jax.config.registry import grammars, metrics, objectives
from t2c_jax.errors import UserError, nearest

EXECUTED = ("python", "shell", "sql", "javascript")  # languages whose programs metrics run
ORIGIN_PARTS = ("shape", "tokenizer", "prefix", "parameters", "tasks")


@dataclass(frozen=True)
class OriginConfig(Section):
    """Another run that this one starts from: an import, a pre-training, the base of adapters."""

    run: str = field("", "Workdir of a run or of t2c import. Empty: none.")
    step: int = field(0, "Step of the checkpoint. 0: the best.", minimum=0)
    take: tuple[str, ...] = field(
        ("tokenizer", "parameters"),
        "What this run takes from it: shape (config.model, but for copy, output heads and how it is computed), "
        "tokenizer, prefix (data.prefix and data.reverse_source), parameters, tasks (its training tasks, replayed "
        "beside this run's own).",
    )
    replay_share: float = field(
        0.1,
        "Share of the rows for replayed tasks. 0: only measure their dev losses.",
        minimum=0,
        below=1,
    )

    def check(self, key: str) -> None:
        """What is taken is known, and the run is a directory alone."""
        for part in self.take:
            if part not in ORIGIN_PARTS:
                known = ", ".join(ORIGIN_PARTS)
                raise UserError(f"{key}.take: {part!r} must be one of {known}{nearest(part, ORIGIN_PARTS)}")
        if found := re.search(r"@(\d+)$", self.run):
            raise UserError(
                f"{key}.run={self.run!r}: name the checkpoint in {key}.step={found[1]}; a directory of that name is"
                " written with a / at its end"
            )


@dataclass(frozen=True)
class CorpusConfig(Section):
    """Sources to cleaned (text, code) pairs."""

    sources: tuple[str, ...] = field(
        ("python:stdlib",),
        "What to mine: directories, git checkouts, archives of them (.zip, .tar.gz …), files of pairs (.jsonl, .csv,"
        " .parquet …) and folders of them, tfds:NAME, a public set or a prepared TFDS dataset, python:stdlib,"
        " package:NAME of an installed package.",
    )
    set_files: str = field(
        "",
        "Directory with the published files of the public sets among the sources (tfds:humaneval …), as they are or in"
        " a directory of the set's name. Empty: they are downloaded.",
        execution=True,
    )
    columns: tuple[str, ...] = field(
        (),
        "Names of columns in files of pairs, PART=COLUMN, such as text=docstring; parts are text, code, id, split,"
        " language, group and tests. A dot reads a nested column. Of several columns of a part, the first that a row"
        " has counts; a part without any has its own name.",
    )
    accept_counts: bool = field(
        False, "Accept a public set whose numbers of pairs differ from the published ones, with a warning."
    )
    extractors: tuple[str, ...] = field(
        (),
        "Formats of files to mine, such as python, java or markdown; a file that none of them reads is ignored. Empty:"
        " all of them.",
    )
    text: str = field(
        "signature+docstring",
        "The text of a mined pair: summary (the first paragraph of its documentation), description (all prose without"
        " parameters and other sections) or docstring (all of it), each also after 'signature+'; or name, the"
        " definition's name in sub-tokens, documented or not.",
    )
    code: str = field(
        "source",
        "The code of a mined pair: source; unparsed, as Python's ast.unparse writes it, without comments and in one"
        " layout; or apis, the sequence of API calls that a function makes.",
    )
    stubs: bool = field(
        False,
        "Keep definitions without a body of their own: '...', pass, raise NotImplementedError, overloads.",
        before=True,
    )
    doctests: bool = field(
        True,
        "Keep the doctests of mined functions and classes as tests, which metrics that run code use. Texts are the"
        " same either way.",
        before=False,
    )
    sessions: Literal["skip", "commands"] = field(
        "skip", "Interactive sessions in documents: skip them, or keep the commands without prompts and output."
    )
    magics: Literal["skip", "remove"] = field(
        "skip",
        "Code of notebooks with IPython's commands (%magic, !shell, name?): skip it, or remove these lines. A cell in"
        " another language, such as %%bash, has that language then.",
    )
    kinds: tuple[str, ...] = field(
        ("function", "method", "class", "statement", "markdown", "notebook", "restructuredtext"),
        "Which kinds of pairs to keep from mined sources. statement: of SQL; check: a statement that raises an error,"
        " by its message; comment: statements under a comment; example: an example in documentation; commit: a"
        " small change of one file, by the message of its commit; test: a function, by a test that calls it.",
    )
    max_commits: int = field(
        10_000, "Commits of each checkout that are read for the kind commit, the newest first.", minimum=1
    )
    code_only: tuple[str, ...] = field(
        (),
        "Code to keep without a text, for pre-training: undocumented function, method and class; module for "
        "whole files. If any is named, lines of .jsonl files may lack a text.",
    )
    held_out: tuple[str, ...] = field(
        (),
        "Benchmarks: files of pairs, and public sets such as tfds:humaneval. A pair whose code overlaps with theirs is"
        " dropped, by the next three fields.",
    )
    held_out_line_chars: int = field(
        30, "Shared lines of at most this many characters, without space around them, do not count.", minimum=0
    )
    held_out_ngram: int = field(
        32, "Tokens in a row that no code may share with held_out. 0: any number.", minimum=0, before=0
    )
    held_out_similarity: float = field(
        0.8,
        "Jaccard similarity of shingles of 3 tokens that no code may have to one of held_out. 0: any.",
        minimum=0,
        maximum=1,
        before=0.0,
    )
    exclude: tuple[str, ...] = field(
        ("**/.git/**", "**/node_modules/**", "**/__pycache__/**", "**/site-packages/**", "**/.venv/**"),
        "Patterns of files that are not read, by gitignore's rules, relative to each source's root.",
    )
    max_file_bytes: int = field(
        1_000_000, "Bytes; larger files are mostly generated or data and are skipped.", minimum=1
    )
    min_text_chars: int = field(10, "Minimum length of a text, in characters.", minimum=0)
    max_text_chars: int = field(2_000, "Characters of text; longer pairs are dropped, never cut.", minimum=1)
    min_code_chars: int = field(20, "Minimum length of the code, in characters.", minimum=0)
    max_code_chars: int = field(4_000, "Characters of code; longer pairs are dropped, never cut.", minimum=1)
    max_line_chars: int = field(
        400, "Maximum length of a line of code, in characters. Longer lines are minified code or data.", minimum=1
    )
    min_alphanumeric_share: float = field(
        0.25, "Minimum share of letters and digits in the code. Code below it is data.", minimum=0, below=1
    )
    dev_share: float = field(
        0.05, "Share of the groups in the dev split, for pairs without a given split.", minimum=0, below=1
    )
    test_share: float = field(
        0.05, "Share of the groups in the test split, for pairs without a given split.", minimum=0, below=1
    )
    skip_files: tuple[str, ...] = field(
        ("generated", "vendored", "minified", "test-data"),
        "Files that are not mined: generated, by what tools write at their top or call them; vendored, by their"
        " directories; minified; test-data.",
        before=(),
    )
    rules_for: Literal["mined", "all"] = field(
        "mined",
        "Which pairs the rules on licences, prose, secrets, personal data and near-duplicates are for: mined ones, or"
        " all, those of files and datasets included.",
    )
    licences: tuple[str, ...] = field(
        (),
        "SPDX identifiers of licences to keep; of alternatives one has to be listed. Pairs whose licence is unknown or"
        " not listed are dropped. Empty: all are kept.",
    )
    prose: tuple[str, ...] = field(
        ("unfinished", "boilerplate", "restated"),
        "Texts to drop: unfinished (TODO, placeholders), boilerplate (phrases of tools and habits, references to other"
        " texts, licence headers), restated (nothing but the definition's name or signature).",
        before=(),
    )
    text_language: str = field(
        "", "Language of the texts to keep, such as en, by script and frequent words. Empty: all are kept."
    )
    secrets: Literal["replace", "drop", "keep"] = field(
        "replace", "Passwords, keys and tokens in pairs: replace them, drop the pairs, or keep both.", before="keep"
    )
    personal_data: Literal["replace", "drop", "keep"] = field(
        "replace",
        "E-mail addresses and public IP addresses: replace them by reserved ones, drop the pairs, or keep both.",
        before="keep",
    )
    deduplicate: bool = field(
        True, "Keep one of several equal pairs. Turn it off to keep the splits of a published set unchanged."
    )
    near_duplicates: float = field(
        0.8,
        "Of pairs whose codes have this Jaccard similarity or more, by shingles of 3 tokens, the best copy is kept; of"
        " short codes, if their texts are equal. 0, or without deduplicate: all are kept.",
        minimum=0,
        maximum=1,
        before=0.0,
    )
    max_malformed_share: float = field(
        0.01, "Maximum share of malformed lines in a source. Above it the stage fails.", minimum=0, below=1
    )

    def check(self, key: str) -> None:
        """Sources there are, and some of them is left to train on."""
        parse_columns(self.columns)
        for what in ("text", "code"):
            least, most = getattr(self, f"min_{what}_chars"), getattr(self, f"max_{what}_chars")
            if least > most:
                raise UserError(f"{key}.min_{what}_chars={least} exceeds max_{what}_chars={most}")
        if self.dev_share + self.test_share >= 1:
            raise UserError(f"{key}.dev_share + test_share leave nothing to train on; lower them")
        if not self.sources:
            raise UserError(f"{key}.sources is empty; name a directory, a .jsonl file, tfds:NAME or python:stdlib")
        if self.code == "apis" and self.text == "name":
            raise UserError(f"{key}.code=apis reads what documentation says, not names; set {key}.text=summary")
        if self.code == "unparsed" and self.text == "name":
            raise UserError(f"{key}.text=name hides the name in the source; set {key}.code=source")
        if self.code_only and (self.text == "name" or self.code != "source"):
            raise UserError(
                f"{key}.code_only is for code as it is written: set {key}.code=source and another {key}.text than name"
            )
        if both := [name for name in self.held_out if name in self.sources]:
            raise UserError(f"{key}.held_out names '{both[0]}', one of {key}.sources; nothing of it is left")


@dataclass(frozen=True)
class TokenizerConfig(Section):
    """SentencePiece with identity normalisation, byte fallback and whitespace kept."""

    vocab_size: int = field(8192, "Pieces, including special tokens and sentinels.")
    model_type: Literal["unigram", "bpe"] = field("bpe", "SentencePiece's algorithm; bpe trains faster on code.")
    split_spaces: bool = field(
        False,
        "Make a single space a piece of its own. Sequences are longer, but a word has the same pieces everywhere.",
    )
    sentinels: int = field(100, "Sentinel pieces reserved for span corruption.", minimum=0)
    max_sentences: int = field(
        400_000, "Maximum number of texts and codes that the tokenizer is trained on, sampled evenly.", minimum=1
    )

    def check(self, key: str) -> None:
        """Bytes, specials and sentinels have their pieces."""
        reserved = 256 + 8 + self.sentinels
        if self.vocab_size <= reserved:
            raise UserError(
                f"{key}.vocab_size={self.vocab_size} must exceed {reserved}: bytes, specials and sentinels need that"
                " many"
            )


@dataclass(frozen=True)
class TaskConfig(Section):
    """One task of a mixture."""

    objective: str = field("text_to_code", "Training objective.")
    weight: float = field(
        1.0, "Share of the rows, relative to the other tasks' weights; 0, with a workdir, measures its dev loss alone."
    )
    workdir: str = field("", "A workdir whose tokens the task reads, of the same tokenizer; empty for this run's own.")
    prefix: str = field("", "Prepended to every source, to distinguish the tasks, e.g. 'Describe: '.")
    noise_density: float = field(
        0.15, "Span corruption: share of tokens that are noise (Raffel et al. 2020).", above=0, below=1
    )
    mean_span: float = field(3.0, "Span corruption: tokens of a span on average.", minimum=1)
    whole_words: bool = field(True, "Span corruption: spans are whole words (Wang et al. 2021).")

    def check(self, key: str) -> None:
        """The objective is known, and the task counts."""
        objectives.get(self.objective, f"{key}.objective")
        if self.weight < 0 or not (self.weight or self.workdir):
            raise UserError(f"{key}.weight={self.weight} must be above 0; leave the task out instead")


@dataclass(frozen=True)
class RetrieveConfig(Section):
    """The nearest training pairs, which the encoder reads behind a source, in training as for prompts."""

    neighbours: int = field(0, "Number of training pairs behind each source. 0: none.", minimum=0)
    content: Literal["pair", "text", "code"] = field("pair", "What the encoder reads of a neighbour.")
    index: Literal["tfidf", "bm25"] = field("tfidf", "How similar two sources are, by the words that they share.")
    encoder: str = field(
        "",
        "Workdir of another run, DIR or DIR@STEP (the best checkpoint by default). Two sources are as similar as its"
        " embedding head's vectors of them, instead of config.data.retrieve.index. Empty: none.",
    )
    tokens: int = field(
        128,
        "Maximum number of tokens of all neighbours of a source. What exceeds it, or encoder_length, is cut; the source"
        " itself is not.",
        minimum=1,
    )
    near_copy: float = field(
        0.9,
        "Jaccard similarity of the tokens of two training pairs from which on they are near-copies, and not neighbours"
        " in training. 0: no pairs are.",
        minimum=0,
        maximum=1,
    )
    text_separator: str = field(
        "", "Stands before the text of a neighbour. Empty: a sentinel of the tokenizer, or a line that begins with #."
    )
    code_separator: str = field(
        "", "Stands before the code of a neighbour. Empty: another sentinel, or an arrow of two characters."
    )


@dataclass(frozen=True)
class DataConfig(Section):
    """Tokenised pairs to packed batches."""

    encoder_length: int = field(224, "Tokens in an encoder row.", minimum=1)
    decoder_length: int = field(512, "Tokens in a decoder row.", minimum=1)
    batch_size: int = field(16, "Rows in the global batch; divisible by microbatches x data x fsdp.", minimum=1)
    pack: bool = field(True, "Put several pairs in one row, kept apart by segment ids.")
    packing_pool: int = field(
        4096, "Pairs among which the packer looks for one that fits. More pairs pack tighter.", minimum=1
    )
    prefix: str = field("", "Task prefix before every source, e.g. 'Generate Python: '.")
    direction: Literal["text_to_code", "code_to_text"] = field(
        "text_to_code", "Which side of a pair is the source. code_to_text generates names or docstrings."
    )
    reverse_source: bool = field(False, "Feed the source's tokens last to first (Sutskever et al. 2014, section 3.3).")
    tasks: Mapping[str, TaskConfig] = field(
        default_factory=dict,
        doc="Training tasks by name, instead of translation in data.direction. Generation and evaluation always "
        "translate in data.direction.",
    )
    temperature: float = field(
        0.0,
        "T: the share of a task is weight x examples ** (1 / T) (Raffel et al. 2020, 3.5.2). 0: the weights alone.",
        minimum=0,
    )
    pairs_in_row: int = field(
        4, "Contrastive pairs per row. Each is truncated to its share of encoder_length.", minimum=1
    )
    retrieve: RetrieveConfig = field(default_factory=RetrieveConfig)
    placeholders: bool = field(
        False,
        "Read and write short names, such as STR0, for what a text has in quotes. Answers get the quotes back, so that"
        " a model does not have to spell them.",
    )

    def check(self, key: str) -> None:
        """Neighbours leave room for a source, and texts are sources where their quotes get names."""
        if self.placeholders and self.direction != "text_to_code":
            raise UserError(
                f"{key}.placeholders=True needs {key}.direction=text_to_code: names stand for the quotes of a text"
            )
        if self.retrieve.neighbours and self.retrieve.tokens >= self.encoder_length:
            raise UserError(
                f"{key}.retrieve.tokens={self.retrieve.tokens} leaves no room for a source in {key}.encoder_length="
                f"{self.encoder_length}; raise encoder_length, or lower retrieve.tokens"
            )


@dataclass(frozen=True)
class OptimizerConfig(Section):
    """optax: update rule, schedule, clipping."""

    name: Literal["adamw", "adafactor", "muon", "schedule_free", "rmsprop", "sgd"] = field(
        "adamw",
        "Optimizer. muon updates kernels of hidden layers by orthogonalised momentum and the rest by AdamW (Jordan et"
        " al. 2024; Liu et al. 2025). schedule_free is AdamW with an average of the iterates in the place of a schedule"
        " (Defazio et al. 2024).",
    )
    learning_rate: float = field(1e-3, "Peak learning rate.", above=0)
    rates: tuple[str, ...] = field(
        (),
        "Learning-rate multipliers, as PATTERN=FACTOR. The first regular expression that matches the path of a "
        "parameter applies; a factor of 0 freezes it. PATTERN[START:STOP]=FACTOR selects layers: "
        "'^encoder[:-2]=0' freezes all "
        "layers of the encoder but the last two.",
    )
    layer_decay: float = field(
        1.0,
        "Multiplies the learning rate once for each layer above that of the parameter, and once more for embeddings "
        "(Howard & Ruder 2018, section 3.2; Clark et al. 2020, appendix B).",
        above=0,
        maximum=1,
    )
    schedule: Literal["constant", "cosine", "inverse_sqrt", "step_decay"] = field(
        "cosine", "Learning rate after the warm-up."
    )
    warmup_steps: int = field(100, "Steps of linear warm-up, from 1/warmup_steps of the peak to the peak.", minimum=0)
    end_share: float = field(0.1, "Cosine's floor as a share of the peak.", minimum=0, maximum=1)
    decay_start: int = field(0, "Step of step_decay's first decay.", minimum=0)
    decay_every: int = field(1000, "Steps between step_decay's decays.", minimum=1)
    decay_factor: float = field(0.5, "Factor of each decay of step_decay.", above=0)
    beta1: float = field(
        0.9,
        "AdamW's first moment decay; schedule_free's share of the average in the parameters at which gradients are"
        " taken. Adafactor runs without a first moment; Muon's momentum is 0.95.",
        minimum=0,
        below=1,
    )
    beta2: float = field(0.98, "Second moment decay of AdamW and RMSProp.", minimum=0, below=1)
    adam_share: float = field(
        1.0,
        "Muon: learning rate of embeddings, output table, heads, biases and scales, which AdamW updates, as a share of"
        " learning_rate.",
        above=0,
    )
    epsilon: float = field(1e-8, "Added to the denominator in AdamW and RMSProp.", above=0)
    weight_decay: float = field(0.01, "Decoupled weight decay of the parameters that decay_mask selects.", minimum=0)
    decay_mask: str = field(
        "",
        "Regular expression over the paths of the parameters that decay; empty for kernels and tables of vectors, not"
        " biases, norm scales, relative biases or the mix of layers.",
        pattern=True,
    )
    multiply_by_parameter_scale: bool = field(
        False,
        "Multiply each update by its parameter's root mean square (Shazeer & Stern 2018, section 8); learning rates"
        " published for T5 assume it.",
    )
    clip_norm: float = field(1.0, "Global gradient norm; 0 turns clipping off.", minimum=0)

    def check(self, key: str) -> None:
        """Rates are written as they are parsed; an average of the iterates takes the place of a decay."""
        parse_rates(self.rates)
        if self.name == "schedule_free" and self.schedule != "constant":
            raise UserError(
                f"{key}.schedule={self.schedule!r} and {key}.name='schedule_free' exclude each other: set"
                f" {key}.schedule=constant"
            )


@dataclass(frozen=True)
class LoraConfig(Section):
    """Low-rank adapters over frozen parameters (Hu et al. 2021, section 4.1)."""

    rank: int = field(
        0, "r: rank of the adapters. They train alone, or together with what config.origin lacks. 0: none.", minimum=0
    )
    alpha: float = field(16.0, "The adapters' output is scaled by alpha / rank.", above=0)
    dropout: float = field(0.0, "Dropout rate of the adapters' inputs.", execution=True, minimum=0, below=1)
    targets: str = field(
        "",
        "Regular expression over the paths of the parameters that get adapters; empty for attention's projections and"
        " recurrent kernels.",
        pattern=True,
    )


@dataclass(frozen=True)
class TrainConfig(Section):
    """The train loop: steps, loss terms, evaluation, checkpoints, anomalies."""

    steps: int = field(1000, "Optimizer steps.", minimum=1)
    microbatches: int = field(1, "Gradient accumulation: number of parts of a batch.", minimum=1)
    label_smoothing: float = field(
        0.0, "Share of the target probability that is spread over the vocabulary.", minimum=0, below=1
    )
    idf_weight: float = field(
        0.0,
        "lambda: weight 1 + lambda log(N / n) for a token that n of N targets hold (Gu et al. 2016).",
        minimum=0,
    )
    tagging_weight: float = field(1.0, "Weight of a tagged token relative to a target token.", minimum=0)
    contrastive_weight: float = field(16.0, "Weight of a contrastive pair relative to a target token.", minimum=0)
    z_loss: float = field(1e-4, "Weight of log(Z)^2 (Chowdhery et al. 2022, section 5).", minimum=0)
    loss_chunk_tokens: int = field(512, "Tokens per device whose logits are in memory at a time.", minimum=1)
    ema_decay: float = field(
        0.0,
        "Decay of the moving average of the parameters for evaluation; smaller in the first steps. 0: none. Not with"
        " config.optimizer.name=schedule_free, which has an average of its own.",
        minimum=0,
        below=1,
    )
    log_every: int = field(10, "Steps between logged lines.", minimum=1)
    eval_every: int = field(200, "Steps between evaluations on dev pairs. 0: at the end only.", minimum=0)
    eval_batches: int = field(16, "Maximum number of dev batches per evaluation.", minimum=1)
    stop_metric: str = field(
        "loss",
        "What selects the best checkpoint: loss (on dev pairs), or a metric on decoded dev pairs.",
    )
    stop_examples: int = field(
        200,
        "Dev pairs decoded for stop_metric per evaluation, sampled evenly by id. The search is that of config.decode,"
        " or greedy if the metric needs one answer.",
        minimum=1,
    )
    patience: int = field(0, "Evaluations without a new best after which the run stops. 0: never.", minimum=0)
    r_drop: float = field(
        0.0,
        "alpha: weight of the divergence of two passes with different dropout (Liang et al. 2021, equation 4).",
        minimum=0,
    )
    samples: int = field(2, "Dev pairs decoded per evaluation and shown as text in TensorBoard.", minimum=0)
    save_every: int = field(
        200,
        "Steps between checkpoints. The last step is saved as well, and with patience or a stop_metric each new best.",
        minimum=1,
    )
    on_nonfinite: Literal["stop", "skip", "rollback"] = field(
        "stop",
        "For a loss or gradient that is not finite: stop the run, skip the update, or roll back to an "
        "earlier checkpoint "
        "and skip the batches since (Chowdhery et al. 2022, section 5.1).",
    )
    on_spike: Literal["ignore", "stop", "skip", "rollback"] = field(
        "ignore", "The same for a finite loss that is far above the last 128 losses."
    )
    spike_deviations: float = field(6.0, "Standard deviations above their mean that make a loss a spike.", above=0)
    rollback_steps: int = field(
        100, "Minimum number of steps that a rollback goes back, if such a checkpoint is kept.", minimum=0
    )
    max_skips: int = field(
        10,
        "Steps skipped or rolled back within 1,000, after which one more stops the run.",
        formerly="most_anomalies",
        minimum=1,
    )
    keep: int = field(2, "Number of latest checkpoints to keep, in addition to the best one.", minimum=1)
    watchdog_seconds: float = field(
        3600.0,
        "Seconds without a finished step or evaluation after which a process writes its stacks and exits "
        "with 75, so that"
        " a scheduler restarts it. 0: never.",
        minimum=0,
    )
    wandb: str = field("", "Weights & Biases project to log to. Empty: none.")

    def check(self, key: str) -> None:
        """What chooses the best checkpoint is known and measured."""
        if self.stop_metric != "loss" and self.stop_metric not in metrics:
            hint, known = nearest(self.stop_metric, metrics), ", ".join(metrics)
            raise UserError(f"{key}.stop_metric={self.stop_metric!r} must be loss or one of {known}{hint}")
        if self.patience and not self.eval_every:
            raise UserError(f"{key}.patience counts measurements: set {key}.eval_every above 0")


@dataclass(frozen=True)
class MeshConfig(Section):
    """Devices along each mesh axis, over all slices. One axis may be -1: the remaining devices."""

    data: int = field(
        -1, "Data parallelism: copies of the model, each on its own rows. With several slices it spans the slices."
    )
    fsdp: int = field(
        1,
        "Fully sharded data parallelism: rows and parameters are split. 0: the smallest size whose share "
        "of the state fits.",
    )
    tensor: int = field(
        1,
        "Tensor parallelism within a slice: heads, feed-forward, vocabulary and, between blocks, the "
        "length are split. 0:"
        " the smallest size that gives every device a row.",
    )

    def check(self, key: str) -> None:
        """At most one axis is left to the devices."""
        axes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        if sum(size == -1 for size in axes.values()) > 1 or min(axes.values()) < -1 or not self.data:
            raise UserError(f"{key} {axes}: sizes are at least 1, fsdp and tensor also 0, and at most one is -1")


@dataclass(frozen=True)
class DecodeConfig(Section):
    """Search."""

    beam_size: int = field(4, "Hypotheses in the beam. 1: greedy search, or sampling.", minimum=1)
    beam_groups: int = field(
        1,
        "Groups of the beam, each of which avoids the tokens of those before it (diverse beam search, Vijayakumar et"
        " al. 2018). 1: plain beam search.",
        minimum=1,
    )
    diversity_penalty: float = field(
        0.5,
        "With beam_groups, what a token loses in rank for each beam of an earlier group that continues with it.",
        minimum=0,
    )
    length_penalty: float = field(1.0, "alpha in log p / length**alpha. 0 ranks by log-probability.", minimum=0)
    patience: float = field(
        0.0,
        "Beam search stops when this many times beam_size hypotheses have ended, as in CTranslate2, whose default is 1."
        " 0: when no live hypothesis can still win, so that nothing is cut off.",
        minimum=0,
    )
    samples: int = field(1, "Answers to a prompt, drawn independently; with a temperature above 0.", minimum=1)
    temperature: float = field(
        0.0, "Draw each token, from logits divided by it. 0: take the likeliest. Needs beam_size=1.", minimum=0
    )
    top_k: int = field(0, "Draw from this many of the likeliest tokens. 0: all.", minimum=0)
    top_p: float = field(
        1.0, "Draw from the likeliest tokens whose probabilities add up to this (nucleus). 1: all.", above=0
    )
    min_p: float = field(
        0.0, "Draw from tokens at least this many times as likely as the likeliest. 0: all.", minimum=0
    )
    repetition_penalty: float = field(
        1.0,
        "Makes tokens of the answer so far less likely: logits are divided by it, or multiplied where negative, as in"
        " transformers. 1: off.",
        minimum=1,
    )
    stop: tuple[str, ...] = field((), "An answer ends before the first of these texts.")
    seed: int = field(0, "What is drawn is a function of it, the prompt, the sample's number and the step.", minimum=0)
    idf_weight: float = field(
        0.0,
        "lambda: add lambda log(N / n) to the log-probability of a token that n of N targets hold (Gu et "
        "al. 2016, eq. 8).",
        minimum=0,
    )
    no_repeat_ngram_size: int = field(
        0,
        "Length of n-grams that no answer holds twice, as in transformers. It stops repetition. 0: off.",
        minimum=0,
    )
    special_pieces: bool = field(
        False,
        "Read special pieces of an imported tokenizer in a prompt, such as <nl>, as pieces, and let answers hold them."
        " Otherwise prompts are read as characters, as in training, and answers hold no special piece.",
    )
    grammar: str = field(
        "",
        "Grammar that every finished answer follows: python, python-line, bash, sql, json, regex:PATTERN,"
        " schema:FILE.json (a JSON schema) or FILE.lark (llguidance's Lark dialect). Empty: none.",
    )
    prompt_lookup: int = field(
        0,
        "Tokens that greedy search guesses from the prompt, the answer and the training targets, and verifies in one"
        " step where that is worth its cost (Saxena 2023). Answers are the same, found in fewer steps. 0: off.",
        minimum=0,
    )
    max_tokens: int = field(256, "Maximum number of generated tokens.", minimum=1)
    batch_size: int = field(16, "Answers that are searched at the same time.", minimum=1)
    rerank: bool = field(
        False,
        "Answer with the candidate that this run's reranker puts first, and say how likely it is right. t2c rerank fits"
        " the reranker for one checkpoint and one search.",
    )

    def check(self, key: str) -> None:
        """Settings that contradict each other, and a grammar that is not known."""
        if self.beam_size % self.beam_groups:
            raise UserError(f"{key}.beam_size={self.beam_size} is not divisible by beam_groups={self.beam_groups}")
        for text in self.stop:
            if not text:
                raise UserError(f"{key}.stop holds an empty text, which would end every answer; leave it out")
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise UserError(f"{key}.stop holds {text!a}, which is not valid Unicode; no answer holds it") from None
        for name in ("top_p", "min_p"):
            if getattr(self, name) > 1:
                raise UserError(f"{key}.{name}={getattr(self, name)} is a probability; it is at most 1")
        if self.temperature and self.beam_size > 1:
            raise UserError(
                f"{key}.temperature={self.temperature} draws tokens, and {key}.beam_size={self.beam_size} is of beam"
                f" search; set {key}.beam_size=1, or the temperature to 0"
            )
        if self.samples > 1 and not self.temperature:
            raise UserError(
                f"{key}.samples={self.samples} would all be the same; set {key}.temperature above 0, such as 0.8"
            )
        if not self.temperature:
            for name, off in (("top_k", 0), ("top_p", 1), ("min_p", 0)):
                if getattr(self, name) != off:
                    raise UserError(f"{key}.{name} is of sampling; set {key}.temperature above 0")
        holds_it = self.grammar.startswith(("regex:", "schema:", "lark:"))
        if self.grammar and not holds_it and not self.grammar.endswith(".lark"):
            grammars.get(self.grammar, f"{key}.grammar")
        if self.rerank:
            self.check_candidates(f"{key}.rerank chooses")
        if self.grammar and self.stop:
            raise UserError(f"{key}.stop cuts answers, and {key}.grammar completes them; leave one of both out")

    def check_candidates(self, what: str) -> None:
        """Whether the search finds several candidates.

        Args:
          what: begins the message; it chooses among candidates.

        Raises:
          UserError: it finds one.
        """
        if max(self.beam_size, self.samples) == 1:
            raise UserError(
                f"{what} among candidates, and this search finds one: set config.decode.beam_size above 1, or"
                " config.decode.samples with a temperature"
            )

    def greedy(self) -> DecodeConfig:
        """The same, but for greedy search: no beam, nothing is drawn, and there is nothing to choose from."""
        return replace(
            self, beam_size=1, beam_groups=1, samples=1, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, rerank=False
        )


def drawing(settings: Mapping[str, Any], others: Collection[str] = ()) -> dict[str, Any]:
    """Settings of a call with what they imply: a temperature implies that there is no beam.

    Args:
      settings: fields of ``DecodeConfig``.
      others: names of fields that are set elsewhere.
    """
    implied = {"beam_size": 1, "beam_groups": 1} if settings.get("temperature") else {}
    return {**{name: value for name, value in implied.items() if name not in others}, **settings}


@dataclass(frozen=True)
class ExecutionConfig(Section):
    """How metrics that run code run it: pass_at_K and execution_match."""

    cpu_seconds: float = field(
        2.0, "Minimum limit of the CPU time of an answer's program, in seconds. Waiting does not count.", above=0
    )
    cpu_factor: float = field(
        10.0, "An answer may use this many times the CPU time of the reference, if that is more.", minimum=1
    )
    reference_cpu_seconds: float = field(
        30.0, "Limit of the CPU time of a reference, in seconds. Problems above it are left out.", above=0
    )
    memory_mib: int = field(1024, "Limit of the memory of a program, in MiB.", minimum=16)
    setup: tuple[str, ...] = field(
        (),
        "Lines before every program of a language, as LANGUAGE=CODE, such as 'python=from typing import *' for answers"
        " without their imports.",
    )

    def setup_of(self, language: str) -> str:
        """The lines before programs of a language."""
        return "\n".join(code for name, _, code in (item.partition("=") for item in self.setup) if name == language)

    def check(self, key: str) -> None:
        """Each item of the setup names one of the languages that are run."""
        for item in self.setup:
            language, separator, _ = item.partition("=")
            if not separator or language not in EXECUTED:
                known = f"{', '.join(EXECUTED)}{nearest(language, EXECUTED)}"
                raise UserError(f"{key}.setup: {item!r} must begin with LANGUAGE=, which is one of {known}")


@dataclass(frozen=True)
class EvaluateConfig(Section):
    """Scores on held-out pairs."""

    split: Literal["dev", "test"] = field("test", "Split to score.")
    metrics: tuple[str, ...] = field(
        ("exact_match", "bleu", "chrf", "parses"), "Metrics by name, in the order of the report."
    )
    max_examples: int = field(0, "Maximum number of pairs, sampled evenly by id. 0: all.", minimum=0)
    problems: tuple[str, ...] = field(
        (),
        "Files of pairs, .jsonl or .jsonl.gz, of benchmarks: the report says how much of their code was trained on.",
    )
    bootstrap_samples: int = field(1000, "Bootstrap resamples for the standard errors.", minimum=1)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)

    def check(self, key: str) -> None:
        """Metrics are known, each named once."""
        if not self.metrics:
            raise UserError(f"{key}.metrics is empty; name some of {', '.join(metrics)}")
        for position, name in enumerate(self.metrics):
            if name not in metrics:
                known = ", ".join(metrics)
                raise UserError(f"{key}.metrics: {name!r} is unknown{nearest(name, metrics)}; known are {known}")
            if name in self.metrics[:position]:
                raise UserError(f"{key}.metrics names {name!r} twice")


@dataclass(frozen=True)
class RerankConfig(Section):
    """The reranker that t2c rerank fits on dev pairs, which config.decode.rerank then asks for."""

    metric: str = field("", "Metric that the weights maximise. Empty: the first of config.evaluate.metrics.")
    reviewer: str = field(
        "",
        "Workdir of a run, DIR or DIR@STEP, that writes the source given the target; how likely it is to write the"
        " prompt is a feature (Zhang et al. 2023). Empty: this run itself, if it was trained with such a task.",
    )
    grammar: str = field(
        "",
        "Grammar by which a candidate parses: python, python-line, bash, sql or json. Empty: that of the pairs'"
        " language, if it is known.",
    )

    def check(self, key: str) -> None:
        """The metric and the grammar are known."""
        if self.metric:
            metrics.get(self.metric, f"{key}.metric")
        if self.grammar:
            grammars.get(self.grammar, f"{key}.grammar")


@dataclass(frozen=True)
class Experiment(Section):
    """One run, from sources to scores."""

    seed: int = field(
        0, "Seed of all random choices. Splits do not depend on it: they hash the names of groups.", minimum=0
    )
    origin: OriginConfig = field(default_factory=OriginConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    rerank: RerankConfig = field(default_factory=RerankConfig)
