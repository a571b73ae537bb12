"""The table of systems that ``t2c reproduce`` trains: config, data, metric, and what was published.

Published figures are those of the papers and of the sets' own leaderboards. ``note`` says what differs from the
publication.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from t2c_jax.errors import UserError, nearest


@dataclass(frozen=True)
class Published:
    """A published score in the unit of the metric."""

    system: str
    score: float
    source: str

    def __str__(self) -> str:
        return f"{self.system} {self.score:g} ({self.source})"


@dataclass(frozen=True)
class System:
    """A system to train.

    Attributes:
      name: as ``t2c reproduce`` knows it.
      config: file and argument, in the directory of the configs.
      metric: that is compared.
      published: on the published test split; the one that this config is after comes first.
      sets: public sets that are its data, in the order in which given files are looked for; the last one is downloaded.
        None for a system that trains on the sources of its config.
      pairs: files of pairs that are read instead, where a directory has them.
      overrides: of the config, by set.
      note: what differs from the publication.
    """

    name: str
    config: str
    metric: str
    published: tuple[Published, ...]
    sets: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ("train.jsonl", "dev.jsonl", "test.jsonl")
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""


_DONG = "Dong & Lapata 2016"
_JOBS = (Published("attention", 87.1, _DONG), Published("TranX", 90.0, "Yin & Neubig 2018"))
_GEO = (Published("attention", 84.6, _DONG), Published("TranX", 88.2, "Yin & Neubig 2018"))
_DEV_OF_TRAIN = "a sixth of the training pairs is held out to choose the checkpoint; the paper trains on all of them"
_DJANGO = (
    Published("TranX", 73.7, "Yin & Neubig 2018"),
    Published("latent predictor networks", 62.3, "Ling et al. 2016"),
    Published("BERT and target auto-encoding", 81.0, "Norouzi et al. 2021"),
    Published("MarianCG", 81.8, "Soliman et al. 2022"),
)
_OWN_CODE = "the standard library of Python instead of the paper's Java corpus"

SYSTEMS = MappingProxyType(
    {
        system.name: system
        for system in (
            System("django", "django.py:copy", "python_match", _DJANGO, ("django",)),
            System(
                "django_plain",
                "django.py:plain",
                "python_match",
                (Published("attention", 45.1, "Ling et al. 2016"),),
                ("django",),
            ),
            System("jobs", "semantic_parsing.py:jobs", "logic_match", _JOBS, ("jobs",), note=_DEV_OF_TRAIN),
            System(
                "jobs_plain",
                "semantic_parsing.py:jobs_plain",
                "logic_match",
                (Published("without attention", 77.9, _DONG),),
                ("jobs",),
                note=_DEV_OF_TRAIN,
            ),
            System("geo", "semantic_parsing.py:geo", "logic_match", _GEO, ("geo",), note=_DEV_OF_TRAIN),
            System(
                "geo_plain",
                "semantic_parsing.py:geo_plain",
                "logic_match",
                (Published("without attention", 72.9, _DONG),),
                ("geo",),
                note=_DEV_OF_TRAIN,
            ),
            System(
                "nl2bash",
                "nl2bash.py",
                "bleu",
                (
                    Published("sub-token CopyNet", 50.9, "leaderboard of Lin et al. 2018"),
                    Published("Tellina", 48.6, "leaderboard of Lin et al. 2018"),
                ),
                ("nl2bash/filtered", "nl2bash/all"),
                overrides={"nl2bash/all": ("corpus.dev_share=0.0833", "corpus.test_share=0.0833")},
                note="tokens of BLEU are this project's; tfds:nl2bash/all has a random split of its own",
            ),
            System(
                "conala",
                "conala.py",
                "conala_bleu",
                (
                    Published("attention", 10.6, "CoNaLa challenge"),
                    Published("attention with mined pairs", 14.3, "CoNaLa challenge"),
                    Published("TranX", 24.5, "Yin & Neubig 2019"),
                    Published("TranX with API documentation, reranked", 32.3, "Xu et al. 2020"),
                    Published("MarianCG", 34.4, "Soliman et al. 2022"),
                ),
                ("conala/curated",),
            ),
            System(
                "nlrx",
                "nlrx.py",
                "regex_match",
                (Published("LSTM with attention", 58.2, "Locascio et al. 2016"),),
                ("nlrx/turk",),
            ),
            System(
                "deep_api",
                "deep_api.py",
                "bleu",
                (Published("Deep API", 54.42, "Gu et al. 2016"),),
                note=_OWN_CODE,
            ),
            System(
                "code2seq",
                "code2seq.py",
                "subtoken_f1",
                (Published("code2seq on Java-small", 43.02, "Alon et al. 2019"),),
                note=_OWN_CODE,
            ),
        )
    }
)


def system_named(name: str) -> System:
    """A system by its name.

    Raises:
      UserError: there is none.
    """
    if name not in SYSTEMS:
        raise UserError(f"unknown system '{name}'{nearest(name, SYSTEMS)}; t2c reproduce --list lists them")
    return SYSTEMS[name]
