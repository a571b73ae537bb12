"""The experiment: every knob once, typed, with its unit and reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# What config.model.encoder and decoder may name, and the class behind each. To add one, write its module and name it
# here; it is imported where a config asks for it.
ENCODERS: Mapping[str, str] = {
    "transformer": "t2c_jax.models.transformer.TransformerEncoder",
    "lstm": "t2c_jax.models.recurrent.encoder.LSTMEncoder",
    "gru": "t2c_jax.models.recurrent.encoder.GRUEncoder",
    "bert": "t2c_jax.models.bert.BertEncoder",
    "gpt2": "t2c_jax.models.gpt2.GPT2Encoder",
    "paths": "t2c_jax.papers.code2seq.encoder.PathEncoder",
}
DECODERS: Mapping[str, str] = {
    "transformer": "t2c_jax.models.transformer.TransformerDecoder",
    "lstm": "t2c_jax.models.recurrent.decoder.LSTMDecoder",
    "gru": "t2c_jax.models.recurrent.decoder.GRUDecoder",
}
# What config.evaluate.metrics may name, and the class behind each, in the same way.
METRICS: Mapping[str, str] = {
    "exact_match": "t2c_jax.evaluate.metrics.ExactMatch",
    "bleu": "t2c_jax.evaluate.metrics.CodeBleu4",
    "chrf": "t2c_jax.evaluate.metrics.ChrF",
    "parses": "t2c_jax.evaluate.metrics.Parses",
    "python_match": "t2c_jax.evaluate.python_match.PythonMatch",
    "logic_match": "t2c_jax.papers.semantic_parsing.logic_match.LogicMatch",
    "regex_match": "t2c_jax.papers.nlrx.regex_match.RegexMatch",
    "conala_bleu": "t2c_jax.papers.conala.bleu.ConalaBleu4",
    "subtoken_f1": "t2c_jax.papers.code2seq.subtoken_f1.SubtokenF1",
    "api_precision": "t2c_jax.papers.deep_api.ranking.ApiPrecision",
    "relevancy": "t2c_jax.papers.deep_api.ranking.Relevancy",
    "frank": "t2c_jax.papers.deep_api.ranking.FRank",
}
# What a task of config.data.tasks may make of the corpus (``data.mixture``).
OBJECTIVES = (
    "text_to_code",
    "code_to_text",
    "span_corruption",
    "masked_identifiers",
    "identifier_tagging",
    "causal_lm",
    "prefix_lm",
    "fill_in_the_middle",
    "contrastive",
)
PRETRAINED = ("bert", "gpt2")  # encoders with a tokenizer and an embedding of their own, both from config.init_from
RECURRENT = ("lstm", "gru")


def knob(default: Any, doc: str) -> Any:
    """A config field with its meaning; ``doc`` gives the unit and, where it is not obvious, the reason."""
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class CorpusConfig:
    """Sources to cleaned (text, code) pairs."""

    sources: tuple[str, ...] = knob(
        ("python:stdlib",),
        "What to mine: a directory or git checkout, a .jsonl/.jsonl.gz of {text, code}, tfds:NAME, or python:stdlib.",
    )
    extractors: tuple[str, ...] = knob(
        ("python", "markdown"), "Formats of files to mine; a file that none of them reads is ignored."
    )
    text: str = knob(
        "signature+docstring",
        "The text of a mined pair: summary (the docstring's first paragraph) or docstring (all of it), either after "
        "'signature+'; or name, the definition's name in sub-tokens, documented or not.",
    )
    code: str = knob(
        "source",
        "The code of a mined pair: source (of the definition), or apis, the sequence of API calls that it makes.",
    )
    stubs: bool = knob(
        False,
        "Keep definitions without a body of their own: '...', pass, raise NotImplementedError, overloads.",
    )
    sessions: Literal["skip", "commands"] = knob(
        "skip", "Interactive sessions in Markdown: skip them, or keep the commands without prompts and output."
    )
    kinds: tuple[str, ...] = knob(
        ("function", "method", "class", "markdown"), "Which kinds of pairs to keep from mined sources."
    )
    code_only: tuple[str, ...] = knob(
        (),
        "Code kept without a text, to pre-train on: function, method and class where nothing documents them, and "
        "module, whole files; if any is named, lines of .jsonl files may lack a text too.",
    )
    held_out: tuple[str, ...] = knob(
        (),
        "Files of pairs, .jsonl or .jsonl.gz, whose code must not be met in training: what shares a line is dropped.",
    )
    held_out_line_chars: int = knob(30, "Characters, space around not counted, above which a shared line tells.")
    exclude: tuple[str, ...] = knob(
        ("**/.git/**", "**/node_modules/**", "**/__pycache__/**", "**/site-packages/**", "**/.venv/**"),
        "Glob patterns, relative to each source's root, of files that are not read.",
    )
    max_file_bytes: int = knob(1_000_000, "Bytes; larger files are mostly generated or data and are left out.")
    min_text_chars: int = knob(10, "Characters; shorter texts say nothing about the code.")
    max_text_chars: int = knob(2_000, "Characters of text; longer pairs are left out, never cut.")
    min_code_chars: int = knob(20, "Characters of code.")
    max_code_chars: int = knob(4_000, "Characters of code; longer pairs are left out, never cut.")
    max_line_chars: int = knob(400, "Characters; a longer line marks minified code or embedded data.")
    min_alphanumeric_share: float = knob(0.25, "Share of letters and digits in the code; below it lies data.")
    dev_share: float = knob(0.05, "Share of groups in the dev split, where the lines name no split.")
    test_share: float = knob(0.05, "Share of groups in the test split, where the lines name no split.")
    deduplicate: bool = knob(
        True, "Keep one of pairs that are the same; off, a published set's splits stay as they are, repeats included."
    )
    max_malformed_share: float = knob(0.01, "Share of unreadable lines past which a source fails the stage.")


@dataclass(frozen=True)
class TokenizerConfig:
    """SentencePiece with identity normalisation, byte fallback and whitespace kept."""

    vocab_size: int = knob(8192, "Pieces, specials and sentinels counted in.")
    model_type: Literal["unigram", "bpe"] = knob("bpe", "SentencePiece's algorithm; bpe trains faster on code.")
    split_spaces: bool = knob(
        False, "A single space is a piece of its own and no word begins with one: longer, but copied words match."
    )
    sentinels: int = knob(100, "Sentinel pieces reserved for span corruption.")
    max_sentences: int = knob(400_000, "Texts and codes, drawn evenly, that the tokenizer is trained on.")
    retrain: bool = knob(
        False,
        "Train a tokenizer on this corpus though config.init_from has one; its pieces' vectors are matched by text.",
    )


@dataclass(frozen=True)
class PathsConfig:
    """Leaf-to-leaf paths of a syntax tree, what the paths encoder reads (Alon et al. 2019, section 3.2)."""

    sampled: int = knob(200, "Paths of an example in a batch, drawn afresh each epoch.")
    stored: int = knob(1000, "Paths of an example kept in tokens/ at most, drawn evenly from all it has.")
    max_length: int = knob(9, "Nodes of a path at most, both leaves' parents and the top counted in.")
    max_width: int = knob(2, "Children between a path's two branches at its top, at most.")
    terminal_tokens: int = knob(6, "Tokens of a leaf's name at most; the rest is cut.")


@dataclass(frozen=True)
class TaskConfig:
    """One task of a mixture."""

    objective: str = knob("text_to_code", "What is made of the corpus: one of OBJECTIVES.")
    weight: float = knob(
        1.0, "Share of the rows, relative to the other tasks' weights; 0, with a workdir, measures its dev loss alone."
    )
    workdir: str = knob("", "A workdir whose tokens the task reads, of the same tokenizer; empty for this run's own.")
    prefix: str = knob("", "Before every source; tells the task from others, e.g. 'Describe: '.")
    noise_density: float = knob(0.15, "Span corruption: share of tokens that are noise (Raffel et al. 2020).")
    mean_span: float = knob(3.0, "Span corruption: tokens of a span on average.")
    whole_words: bool = knob(True, "Span corruption: spans begin and end where words do (Wang et al. 2021).")


@dataclass(frozen=True)
class ReplayConfig:
    """What came before, kept in mind: another run's tasks, over its own tokens, beside this run's."""

    workdir: str = knob("", "The run whose tasks are replayed, of the same tokenizer; empty for none.")
    share: float = knob(0.1, "Their share of the rows; at 0 their dev loss is measured, and nothing trained on them.")


@dataclass(frozen=True)
class DataConfig:
    """Tokenised pairs to packed batches."""

    encoder_length: int = knob(224, "Tokens in an encoder row.")
    decoder_length: int = knob(512, "Tokens in a decoder row.")
    batch_size: int = knob(16, "Rows in the global batch; divisible by microbatches x data x fsdp.")
    pack: bool = knob(True, "Put several pairs in one row, kept apart by segment ids.")
    packing_pool: int = knob(4096, "Pairs among which the packer looks for the next fit; more pack tighter.")
    prefix: str = knob("", "Task prefix before every source, e.g. 'Generate Python: '.")
    direction: Literal["text_to_code", "code_to_text"] = knob(
        "text_to_code", "Which side of a pair is the source; code_to_text writes names or docstrings."
    )
    reverse_source: bool = knob(False, "Feed the source's tokens last to first (Sutskever et al. 2014, section 3.3).")
    tasks: Mapping[str, TaskConfig] = dataclasses.field(
        default_factory=dict,
        metadata={
            "doc": "What to train on, by name, in place of translating in data.direction; what is generated and scored "
            "stays that translation."
        },
    )
    temperature: float = knob(
        0.0, "T: a task's share is weight x examples ** (1 / T) (Raffel et al. 2020, 3.5.2); 0 goes by weights alone."
    )
    replay: ReplayConfig = dataclasses.field(default_factory=ReplayConfig)
    pairs_in_row: int = knob(4, "Contrastive pairs that share a row; each is cut to its share of encoder_length.")
    paths: PathsConfig = dataclasses.field(default_factory=PathsConfig)


@dataclass(frozen=True)
class RecurrentConfig:
    """LSTM and GRU encoders and decoders."""

    width: int = knob(512, "Hidden units of a layer, in each direction.")
    bidirectional: bool = knob(True, "The encoder reads both ways.")
    attention: Literal["none", "additive", "multiplicative"] = knob(
        "multiplicative",
        "What the decoder reads the source with: its last state alone (Sutskever et al. 2014), additive attention "
        "(Bahdanau et al. 2015) or multiplicative (Luong et al. 2015, 'general').",
    )
    input_feeding: bool = knob(True, "Feed each step the attentional state of the one before (Luong et al. 2015, 3.3).")
    bridge: Literal["dense", "copy"] = knob(
        "dense", "What starts the decoder: a tanh layer over the source's summary, or the encoder's own states."
    )


@dataclass(frozen=True)
class PretrainedConfig:
    """The shape of a BERT, RoBERTa or GPT-2 encoder, as config.init_from has it."""

    vocab_size: int = knob(30522, "Pieces of its own tokenizer.")
    width: int = knob(768, "E: width of its residual stream.")
    layers: int = knob(12, "Blocks.")
    heads: int = knob(12, "Attention heads.")
    feed_forward: int = knob(3072, "Hidden width of the feed-forward.")
    positions: int = knob(512, "Rows of its table of positions; more than config.init_from has are drawn.")
    first_position: int = knob(0, "Row of the first token's position: 0, or 2 in RoBERTa.")
    token_types: int = knob(2, "Rows of its table of token types, of which the first is used; 0 for none.")
    activation: Literal["gelu", "gelu_tanh", "relu"] = knob("gelu", "Feed-forward: the exact GELU, or its tanh form.")
    norm_epsilon: float = knob(1e-12, "Added to the variance in LayerNorm.")
    mix_layers: bool = knob(
        False, "Hand on a learned mix of all layers (Peters et al. 2018, equation 1) instead of the last."
    )


@dataclass(frozen=True)
class ModelConfig:
    """An encoder, a decoder, and what joins them; what names no side belongs to the Transformers."""

    encoder: str = knob("transformer", "Reads the source: transformer, lstm, gru, bert, gpt2 or paths.")
    decoder: str = knob("transformer", "Writes the target: transformer, lstm or gru.")
    copy: bool = knob(False, "Let the decoder point at source tokens and copy them (See et al. 2017, section 2.2).")
    width: int = knob(256, "D: width of embeddings, of Transformers' residual streams, and of decoder states.")
    encoder_layers: int = knob(4, "Blocks or recurrent layers in the encoder.")
    decoder_layers: int = knob(4, "Blocks or recurrent layers in the decoder.")
    heads: int = knob(8, "H: attention heads; divisible by the tensor axis.")
    head_width: int = knob(32, "K: width of a head; even under RoPE.")
    feed_forward: int = knob(1024, "F: hidden width of the feed-forward; divisible by the tensor axis.")
    activation: Literal["gated_gelu", "gated_silu", "relu", "gelu"] = knob(
        "gated_gelu", "Feed-forward; gated ones (Shazeer 2020) have two input projections, the others one."
    )
    position: Literal["rope", "t5"] = knob("rope", "Rotary embedding (Su et al. 2021) or T5's learned relative bias.")
    rope_theta: float = knob(10_000.0, "Base of RoPE's wavelengths.")
    relative_buckets: int = knob(32, "Buckets of T5's relative bias.")
    relative_max_distance: int = knob(128, "Tokens beyond which T5's relative bias no longer tells distances apart.")
    scale_attention: bool = knob(True, "Divide attention scores by sqrt(K); T5 does not.")
    tied_embeddings: bool = knob(True, "One table for the encoder's, the decoder's and the output's embedding.")
    scale_tied_output: bool = knob(True, "With a tied table, scale decoder states by 1/sqrt(D) before the logits (T5).")
    dropout: float = knob(0.1, "Share of activations dropped during training.")
    norm_epsilon: float = knob(1e-6, "Added to the mean square in RMSNorm.")
    attention: Literal["auto", "xla", "cudnn", "pallas"] = knob(
        "auto",
        "Attention kernel: xla is the plain formula, cudnn is for GPUs, pallas for TPUs (on a CPU it is interpreted, "
        "for tests); auto goes by platform and takes xla where the platform's own does not fit.",
    )
    scan: bool = knob(True, "One compiled block, scanned; off, blocks are unrolled: slower to compile, faster on CPU.")
    remat: Literal["none", "dots", "full"] = knob(
        "none",
        "What the backward pass computes again, beside attention weights and activation functions: nothing, all but"
        " the products that leave the residual stream, or whole blocks.",
    )
    dtype: Literal["float32", "bfloat16"] = knob("float32", "Compute dtype; parameters are float32 always.")
    uniform_init: float = knob(
        0.0, "Draw every weight from U(-a, a) (Sutskever et al. 2014, section 3.4); 0 draws normals by their fan-in."
    )
    encoder_heads: tuple[str, ...] = knob(
        (), "Heads over the encoder's states: tagging (of identifiers), embedding (of texts and code)."
    )
    embedding_width: int = knob(256, "Width of the embedding head's vectors.")
    recurrent: RecurrentConfig = dataclasses.field(default_factory=RecurrentConfig)
    pretrained: PretrainedConfig = dataclasses.field(default_factory=PretrainedConfig)


@dataclass(frozen=True)
class OptimizerConfig:
    """optax: update rule, schedule, clipping."""

    name: Literal["adamw", "adafactor", "rmsprop", "sgd"] = knob("adamw", "Update rule.")
    learning_rate: float = knob(1e-3, "Peak learning rate.")
    rates: tuple[str, ...] = knob(
        (),
        "PATTERN=FACTOR items: the first regular expression found in a parameter's path multiplies its learning rate; "
        "a factor of 0 freezes it. PATTERN[START:STOP]=FACTOR reaches those layers of a stack: '^encoder[:-2]=0' "
        "freezes all of the encoder's layers but the last two.",
    )
    layer_decay: float = knob(
        1.0,
        "Multiplies the learning rate once for each layer above a parameter's own in its stack, once more for "
        "embeddings (Howard & Ruder 2018, section 3.2; Clark et al. 2020, appendix B).",
    )
    schedule: Literal["constant", "cosine", "inverse_sqrt", "step_decay"] = knob("cosine", "After the warm-up.")
    warmup_steps: int = knob(100, "Steps of linear warm-up from zero.")
    end_share: float = knob(0.1, "Cosine's floor as a share of the peak.")
    decay_start: int = knob(0, "Step of step_decay's first decay.")
    decay_every: int = knob(1000, "Steps between step_decay's decays.")
    decay_factor: float = knob(0.5, "What step_decay multiplies the rate with.")
    beta1: float = knob(0.9, "AdamW's first moment decay; Adafactor runs without a first moment.")
    beta2: float = knob(0.98, "Second moment decay of AdamW and RMSProp.")
    epsilon: float = knob(1e-8, "In the denominator of AdamW and RMSProp.")
    weight_decay: float = knob(0.01, "Decoupled; only on the parameters the mask names.")
    decay_mask: str = knob(
        r"^(?!.*\.(scale|table)$)",
        "Regular expression over the parameter paths that decay: all but norm scales and relative biases.",
    )
    clip_norm: float = knob(1.0, "Global gradient norm; 0 turns clipping off.")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters over frozen parameters (Hu et al. 2021, section 4.1)."""

    rank: int = knob(0, "r: rank of the adapters, which train alone, or beside what config.init_from lacks; 0: none.")
    alpha: float = knob(16.0, "The adapters' product is scaled by alpha / rank.")
    dropout: float = knob(0.0, "Share of the adapters' inputs dropped during training.")
    targets: str = knob(
        r"\.(query|key|value|output|input|state)$",
        "Regular expression over the parameter paths that get adapters: attention's projections and recurrent kernels.",
    )


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    steps: int = knob(1000, "Optimizer steps.")
    microbatches: int = knob(1, "Gradient accumulation: the batch is cut into this many parts.")
    label_smoothing: float = knob(0.0, "Share of the target's mass spread over the vocabulary.")
    idf_weight: float = knob(
        0.0, "lambda: weigh a target token's cost by 1 + lambda log(N / n), n of N targets having it (Gu et al. 2016)."
    )
    tagging_weight: float = knob(1.0, "Weight of a tagged token's cost beside a target token's.")
    contrastive_weight: float = knob(16.0, "Weight of a contrastive pair's cost: as that many target tokens.")
    z_loss: float = knob(1e-4, "Weight of log(Z)^2 (Chowdhery et al. 2022, section 5).")
    loss_chunk_tokens: int = knob(512, "Tokens whose logits exist at a time, per device.")
    ema_decay: float = knob(0.0, "Decay of the parameters' average for evaluation, less in the first steps; 0: none.")
    log_every: int = knob(10, "Steps between logged lines.")
    eval_every: int = knob(200, "Steps between measurements on dev pairs; 0 for the end only.")
    eval_batches: int = knob(16, "Batches of the dev split a measurement reads at most.")
    stop_metric: str = knob(
        "loss",
        "What tells the best checkpoint: the held-out loss, or a metric of evaluation, on decoded dev pairs.",
    )
    stop_examples: int = knob(
        200,
        "Dev pairs, drawn evenly by id, decoded for stop_metric at each measurement: as config.decode says, greedily"
        " where one answer is enough.",
    )
    patience: int = knob(0, "Measurements without a new best after which the run stops; 0 for never.")
    r_drop: float = knob(
        0.0,
        "alpha: weight of the divergence of two passes with different dropout (Liang et al. 2021, equation 4).",
    )
    samples: int = knob(2, "Dev pairs decoded at each measurement, shown as text in TensorBoard.")
    save_every: int = knob(
        200,
        "Steps between checkpoints; the last step, and under patience or a stop_metric each new best, are saved too.",
    )
    on_nonfinite: Literal["stop", "skip", "rollback"] = knob(
        "stop",
        "A loss or gradients that are not finite stop the run, skip the update, or go back to a checkpoint from before "
        "and leave out the batches since (Chowdhery et al. 2022, section 5.1).",
    )
    on_spike: Literal["ignore", "stop", "skip", "rollback"] = knob(
        "ignore", "The same for a loss that is finite but far above the 128 before it."
    )
    spike_deviations: float = knob(6.0, "Standard deviations above their mean from which a loss is a spike.")
    rollback_steps: int = knob(100, "A rollback goes to a checkpoint at least so many steps before, if one is kept.")
    most_anomalies: int = knob(10, "Steps skipped or rolled back within 1,000, after which one more stops the run.")
    keep: int = knob(2, "Latest checkpoints kept, beside the best by stop_metric.")
    watchdog_seconds: float = knob(
        3600.0,
        "Without a finished step, or evaluation, for so long, a process writes its stacks and ends with status 75, for"
        " a scheduler to start it again; 0 for never.",
    )
    wandb: str = knob("", "Project of Weights & Biases to log to as well; empty for none.")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis, all slices counted in; -1 takes what the others leave."""

    data: int = knob(
        -1, "Copies of the model, each on its own rows; slices, where there are several, are copies first."
    )
    fsdp: int = knob(
        1, "Rows and parameters split, parameters gathered as needed; 0 for the least whose share of the state fits."
    )
    tensor: int = knob(
        1,
        "Heads, feed-forward, vocabulary and, between blocks, the length split, within a slice; 0 for the least that"
        " gives every device a row.",
    )


@dataclass(frozen=True)
class DecodeConfig:
    """Search."""

    beam_size: int = knob(4, "Hypotheses kept; 1 is greedy.")
    length_penalty: float = knob(1.0, "alpha in log p / length**alpha; 0 ranks by log-probability alone.")
    idf_weight: float = knob(
        0.0, "lambda: add lambda log(N / n) to a token's log-probability in the search (Gu et al. 2016, equation 8)."
    )
    no_repeat_ngram_size: int = knob(
        0, "No answer holds so many tokens in a row twice, as in transformers; 0 for no such rule. It ends loops."
    )
    max_tokens: int = knob(256, "Tokens generated at most.")
    batch_size: int = knob(16, "Prompts decoded together.")


@dataclass(frozen=True)
class EvaluateConfig:
    """Scores on held-out pairs."""

    split: Literal["dev", "test"] = knob("test", "Which pairs to score.")
    metrics: tuple[str, ...] = knob(
        ("exact_match", "bleu", "chrf", "parses"), "Scores by name, in the order in which people see them."
    )
    max_examples: int = knob(0, "Pairs, drawn evenly by id; 0 for all.")
    bootstrap_samples: int = knob(1000, "Resamples behind each standard error.")


@dataclass(frozen=True)
class Experiment:
    """One run, from sources to scores."""

    seed: int = knob(0, "Of everything drawn: splits excepted, which hash names alone.")
    init_from: str = knob(
        "",
        "A workdir, of t2c import or of a run, or WORKDIR@STEP for one of its checkpoints, whose tokenizer and"
        " parameters this run starts from; empty for none.",
    )
    inherit: bool = knob(
        False,
        "Take config.model, data.prefix and data.reverse_source from config.init_from's own config, and change them by "
        "overrides alone; copy, dropout, heads and how the model is run stay this config's.",
    )
    from_scratch: bool = knob(
        False, "Draw all parameters, and take no more than tokenizer and shape from config.init_from: to compare with."
    )
    corpus: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    decode: DecodeConfig = dataclasses.field(default_factory=DecodeConfig)
    evaluate: EvaluateConfig = dataclasses.field(default_factory=EvaluateConfig)
