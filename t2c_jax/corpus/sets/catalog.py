"""The table of public sets.

Digests are of the files as they are published at the commit that the URL names; ``git:`` digests are the commit's own.
The numbers of pairs are the published ones. Where a set has no dev split of its own, config.corpus.dev_share makes one.
"""

from __future__ import annotations

from types import MappingProxyType

from t2c_jax.corpus.sets import published_formats as formats
from t2c_jax.corpus.sets.public_set import Part, PublicSet
from t2c_jax.corpus.sets.published_files import PublishedFile
from t2c_jax.errors import UserError, nearest

_RAW = "https://raw.githubusercontent.com"
_SPLIT_FILES = {"train": "train", "dev": "val", "test": "test"}


def _github(repository: str, commit: str, path: str, digest: str = "") -> PublishedFile:
    return PublishedFile(f"{_RAW}/{repository}/{commit}/{path}", digest, path)


def _humaneval() -> PublicSet:
    return PublicSet(
        name="humaneval",
        title="164 functions to complete, with unit tests",
        homepage="https://github.com/openai/human-eval",
        licence="MIT",
        citation="Chen et al. 2021, Evaluating Large Language Models Trained on Code",
        metric="pass@k",
        kind="function",
        parts=(
            Part(
                name="",
                files=(
                    _github(
                        "openai/human-eval",
                        "6d43fb980f9fee3c892a914eda09951f772ad10d",
                        "data/HumanEval.jsonl.gz",
                        "sha256:b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
                    ),
                ),
                splits={"test": 164},
                read=formats.json_lines({"test": "HumanEval.jsonl.gz"}, formats.humaneval_row),
                language="python",
            ),
        ),
    )


def _mbpp() -> PublicSet:
    full, sanitized = "mbpp.jsonl", "sanitized-mbpp.json"
    splits = ("train", "dev", "test")
    return PublicSet(
        name="mbpp",
        title="basic Python problems with three tests each",
        homepage="https://github.com/google-research/google-research/tree/master/mbpp",
        licence="CC-BY-4.0",
        citation="Austin et al. 2021, Program Synthesis with Large Language Models",
        metric="pass@k",
        kind="function",
        parts=(
            Part(
                name="full",
                files=(
                    _github(
                        "google-research/google-research",
                        "2251e8c67a7fe7d6348714967ee101080b28e956",
                        f"mbpp/{full}",
                    ),
                ),
                splits={"train": 384, "dev": 90, "test": 500},
                read=formats.json_lines(dict.fromkeys(splits, full), formats.mbpp_row, formats.mbpp_split),
                language="python",
            ),
            Part(
                name="sanitized",
                files=(
                    _github(
                        "google-research/google-research",
                        "30adf0ec5f35f9609c2f1d896005e184195d9146",
                        f"mbpp/{sanitized}",
                    ),
                ),
                splits={"train": 127, "dev": 43, "test": 257},
                read=formats.json_document(dict.fromkeys(splits, sanitized), formats.mbpp_row, formats.mbpp_split),
                language="python",
            ),
        ),
    )


def _odex() -> PublicSet:
    parts = {
        "en": (439, "1ed71a3d47143f9a6e61877994d2403dd63fcdcea2db5ec328a2884410c8abc2"),
        "es": (90, "f63a9aa8b8639df1cb1e6c8a0625605711bc6c148d420ad92699d0fcc8ed7a7e"),
        "ja": (164, "817bda1c7fa30c261928d8e85460eaf1ee23a594e82fd37ed9e2c20999b29f0f"),
        "ru": (252, "8b74304c1dd0e506bb3718f2b80777ab672defac9a8c3770844d39f0f11b6644"),
    }
    return PublicSet(
        name="odex",
        title="questions of Stack Overflow in four languages, with tests; many need third-party libraries",
        homepage="https://github.com/zorazrw/odex",
        licence="CC-BY-SA-4.0",
        citation="Wang et al. 2022, Execution-Based Evaluation for Open-Domain Code Generation",
        metric="pass@k",
        kind="snippet",
        parts=tuple(
            Part(
                name=name,
                files=(
                    _github(
                        "zorazrw/odex",
                        "21308ea6d474a078d5a85c61c2b5ca228d1fd167",
                        f"data/{name}_test.jsonl",
                        f"sha256:{digest}",
                    ),
                ),
                splits={"test": count},
                read=formats.json_lines({"test": f"{name}_test.jsonl"}, formats.odex_row),
                language="python",
            )
            for name, (count, digest) in parts.items()
        ),
    )


def _conala() -> PublicSet:
    archive = "http://www.phontron.com/download/conala-corpus-v1.1.zip"

    def file(*names: str) -> PublishedFile:
        return PublishedFile(archive, holds=tuple(f"conala-corpus/{name}" for name in names))

    curated = {"train": "conala-train.json", "test": "conala-test.json"}
    return PublicSet(
        name="conala",
        title="questions of Stack Overflow and Python snippets, written out by people or mined",
        homepage="https://conala-corpus.github.io",
        licence="MIT",
        citation="Yin et al. 2018, Learning to Mine Aligned Code and Natural Language Pairs from Stack Overflow",
        metric="conala_bleu",
        kind="snippet",
        parts=(
            Part(
                name="curated",
                files=(file(*curated.values()),),
                splits={"train": 2379, "test": 500},
                read=formats.json_document(curated, formats.conala_row),
                language="python",
            ),
            Part(
                name="mined",
                files=(file("conala-mined.jsonl"),),
                splits={"train": 593_891},
                read=formats.json_lines({"train": "conala-mined.jsonl"}, formats.conala_row),
                language="python",
            ),
        ),
    )


def _tldr() -> PublicSet:
    digests = {
        "train": "git:7964c89ed27d67ec833b83ae1275f0fb27ef7019",
        "dev": "sha256:c2bb852f34fab6408235070b3a93023afe2d47ba3213dba94d5bcfccc22b3b29",
        "test": "sha256:1893b8dcab0051f3317e6c3b31f6797b7bef33282182ac17743aa09b3d62524d",
    }
    names = {split: f"cmd_{split}.oracle_man.full.json" for split in digests}
    commit = "0a89d2b624dd62c81143c84e1273a36ea6c3c8ea"  # the last one that has the data
    return PublicSet(
        name="tldr",
        title="examples of the tldr pages as bash commands; commands of dev and test are not in train",
        homepage="https://github.com/shuyanzhou/docprompting",
        licence="CC-BY-4.0",
        citation="Zhou et al. 2023, DocPrompting: Generating Code by Retrieving the Docs",
        metric="exact_match",
        kind="command",
        parts=(
            Part(
                name="",
                files=tuple(
                    _github("shuyanzhou/docprompting", commit, f"data/tldr/{names[split]}", digest)
                    for split, digest in digests.items()
                ),
                splits={"train": 6414, "dev": 1845, "test": 928},
                read=formats.json_document(names, formats.tldr_row),
                language="bash",
            ),
        ),
    )


def _nl2bash() -> PublicSet:
    digests = {
        "nl": "1db0c529c350b463919624550b8f5882a97c42ad5051c7d49fbc496bc4e8b770",
        "cm": "3a72eaced7fa14a0938354cefc42b2dcafb2d47297102f1279086e18c3abe57e",
    }
    repository, commit = "TellinaTool/nl2bash", "466c5fe873ab08c7cc0112ea1521cc6ad9c20992"
    return PublicSet(
        name="nl2bash",
        title="requests and bash one-liners",
        homepage="https://github.com/TellinaTool/nl2bash",
        licence="MIT",
        citation="Lin et al. 2018, NL2Bash: A Corpus and Semantic Parser for Natural Language Interface to the Linux"
        " Operating System",
        metric="bleu",
        kind="command",
        parts=(
            Part(
                name="all",
                files=tuple(
                    _github(repository, commit, f"data/bash/all.{kind}", f"sha256:{digest}")
                    for kind, digest in digests.items()
                ),
                splits={"train": 12_607},
                read=formats.parallel_lines({"train": ("all.nl", "all.cm")}, formats.command_row),
                language="bash",
            ),
            Part(  # the authors publish scripts that filter and split, not what these write
                name="filtered",
                files=tuple(
                    PublishedFile(
                        f"https://github.com/{repository}/tree/{commit}/data/scripts (run filter_data.py, then"
                        " split_data.py)",
                        path=f"data/bash/{split}.{kind}.filtered",
                        by_hand=True,
                    )
                    for split in ("train", "dev", "test")
                    for kind in digests
                ),
                splits={"train": 8090, "dev": 609, "test": 606},
                read=formats.parallel_lines(
                    {split: (f"{split}.nl.filtered", f"{split}.cm.filtered") for split in ("train", "dev", "test")},
                    formats.command_row,
                ),
                language="bash",
            ),
        ),
    )


def _nlrx() -> PublicSet:
    digests = {
        "synth": {
            "src-train": "62173767d756b2efdbe165936c8f75ec00d3e73f90ef8f48805d68c22e70ac88",
            "src-val": "a5653c64d721bff11006804b3579dde355dc30ac703a16515b8b21e6a61049b2",
            "src-test": "9996dd85c545711dbac5e7fbad26122ba04146f1c82d491318b587d4fed2445b",
            "targ-train": "0c403f875ecf3aa2d59d131534ee1a90609b5cd7f87829cba5fe0490d586dd22",
            "targ-val": "21c1d5fbbde9f9818cbe882dff4a7d39d456610166ac32483bb1be512ad0f92b",
            "targ-test": "09b43923fefe35a3df0294b7e7945ffcecfd95b18f2eb7a628ab2c65c8d38b34",
        },
        "turk": {
            "src-train": "f06f0d3b56688d23ef72019badc4a738556e68fcc2ae784761879cf5c0a72013",
            "src-val": "beb670ae5f44dad622dceb43e75e338f79805e3ec19ee0ed173ae24ca9922c21",
            "src-test": "5130a09dcbd8565b861b5841e324ecefbcc44aca662efb4b6c9778c89fda0271",
            "targ-train": "312d221b8ee50e1bb78438a47cdb7c96814765da2728490acb0ac32ca9bab64b",
            "targ-val": "a1bd480c73e08dcd53436ce463f7428355d0d881a69688a075f082ebf1e25cab",
            "targ-test": "c03903a68856c3b5b65e9148059b9cd32720fd8a293877e298b5e6c4494cd2e8",
        },
    }
    names = {split: (f"src-{published}.txt", f"targ-{published}.txt") for split, published in _SPLIT_FILES.items()}
    return PublicSet(
        name="nlrx",
        title="descriptions and regular expressions: descriptions by a grammar (synth) or by people (turk)",
        homepage="https://github.com/nicholaslocascio/deep-regex",
        licence="MIT",
        citation="Locascio et al. 2016, Neural Generation of Regular Expressions from Natural Language with Minimal"
        " Domain Knowledge",
        metric="regex_match",
        kind="regex",
        parts=tuple(
            Part(
                name=name,
                files=tuple(
                    _github(
                        "nicholaslocascio/deep-regex",
                        "096490db7f4b0394fbb46b914cb35a0aa1cba29c",
                        f"deep-regex-model/data_{name}_eval_{name}/{file}.txt",
                        f"sha256:{digest}",
                    )
                    for file, digest in digests[name].items()
                ),
                splits={"train": 6500, "dev": 1000, "test": 2500},
                read=formats.parallel_lines(names, formats.plain_row),
                language="regex",
            )
            for name in ("turk", "synth")
        ),
    )


def _django() -> PublicSet:
    digests = {
        "anno": "86b38c7bf6ffe2882d4603f799e92f48ddaab8a7d9b2af41bba923e59b41800a",
        "code": "d20b345fd3cdcf8d54b9cd123b3de4078f8f9a3c6bfc9fed9cd215bc857f99db",
    }
    lines: dict[str, tuple[int, int | None]] = {
        "train": (0, 16_000),
        "dev": (16_000, 17_000),
        "test": (17_000, None),
    }
    return PublicSet(
        name="django",
        title="lines of Django with pseudo-code; the code is space-separated tokens",
        homepage="https://github.com/odashi/ase15-django-dataset",
        licence="MIT",
        citation="Oda et al. 2015, Learning to Generate Pseudo-code from Source Code Using Statistical Machine"
        " Translation",
        metric="python_match",
        kind="line",
        parts=(
            Part(
                name="",
                files=tuple(
                    _github(
                        "odashi/ase15-django-dataset",
                        "c37fa281ced0de16aa7868415522905f8380686e",
                        f"django/all.{kind}",
                        f"sha256:{digest}",
                    )
                    for kind, digest in digests.items()
                ),
                splits={"train": 16_000, "dev": 1000, "test": 1805},
                read=formats.parallel_lines(dict.fromkeys(lines, ("all.anno", "all.code")), formats.plain_row, lines),
                language="python",
            ),
        ),
    )


def _hearthstone() -> PublicSet:
    digests = {
        "train_hs.in": "605b3ee9ca8f3fd1f3618d777f19efa1c77f354379ab218f963d3155b8e35d92",
        "train_hs.out": "e991014bb8fc69af1e2c3e54eb433e668580006aa1da2a66564f73032a68b76c",
        "dev_hs.in": "7a3edbe72f99dc02de7627341fe2b331908074bed8f0fd5348f61565333b8932",
        "dev_hs.out": "4e5bf299ab22b7c5c1ba1a82773e7f45c98c21e2fd5ff0f34a579f910e0e4b5c",
        "test_hs.in": "a55174fae642417820918339d7dcc2721c1bb93279ee73536d0d854171fd0104",
        "test_hs.out": "9664c04463ec88bf8920ffd5ba6eb531b7b7ab5f77d7d1e4ab87c61205d30448",
    }
    return PublicSet(
        name="hearthstone",
        title="cards of Hearthstone and the Python classes that implement them",
        homepage="https://github.com/google-deepmind/card2code",
        licence="MIT",
        citation="Ling et al. 2016, Latent Predictor Networks for Code Generation",
        metric="bleu",
        kind="class",
        parts=(
            Part(
                name="",
                files=tuple(
                    _github(
                        "google-deepmind/card2code",
                        "2a38b6192f154c23a6f0f474822f421ea9ab7b51",
                        f"third_party/hearthstone/{name}",
                        f"sha256:{digest}",
                    )
                    for name, digest in digests.items()
                ),
                splits={"train": 533, "dev": 66, "test": 66},
                read=formats.parallel_lines(
                    {split: (f"{split}_hs.in", f"{split}_hs.out") for split in ("train", "dev", "test")},
                    formats.hearthstone_row,
                ),
                language="python",
            ),
        ),
    )


def _concode() -> PublicSet:
    digests = {
        "train": "git:5876a94c6601c9ac0efa465d619cff9fb02724ea",
        "dev": "sha256:cd4f91cfaa12a886a1d7acaf92eaf8ab066845c37a9221e56634d345958c922a",
    }
    return PublicSet(
        name="concode",
        title="methods of Java classes from a description and the members of the class; the test answers are withheld",
        homepage="https://github.com/microsoft/CodeXGLUE/tree/main/Text-Code/text-to-code",
        licence="C-UDA-1.0",
        citation="Iyer et al. 2018, Mapping Language to Code in Programmatic Context; Lu et al. 2021, CodeXGLUE",
        metric="exact_match, bleu and CodeBLEU",
        kind="method",
        parts=(
            Part(
                name="",
                files=tuple(
                    _github(
                        "microsoft/CodeXGLUE",
                        "ac74a62802a0dd159b3258c78a2df8ad36cdf2b9",
                        f"Text-Code/text-to-code/dataset/concode/{split}.json",
                        digest,
                    )
                    for split, digest in digests.items()
                ),
                splits={"train": 100_000, "dev": 2000},
                read=formats.json_lines({"train": "train.json", "dev": "dev.json"}, formats.concode_row),
                language="java",
            ),
        ),
    )


def _code_search_net() -> PublicSet:
    counts = {
        "python": (412_178, 23_107, 22_176),
        "java": (454_451, 15_328, 26_909),
        "javascript": (123_889, 8253, 6483),
        "go": (317_832, 14_242, 14_291),
        "php": (523_712, 26_015, 28_391),
        "ruby": (48_791, 2209, 2279),
    }
    names = {"train": "train", "dev": "valid", "test": "test"}
    return PublicSet(
        name="codesearchnet",
        title="documented functions of public repositories in six languages; splits by repository",
        homepage="https://github.com/github/CodeSearchNet",
        licence="",  # each repository has its own
        citation="Husain et al. 2019, CodeSearchNet Challenge: Evaluating the State of Semantic Code Search",
        metric="mean reciprocal rank of search",
        kind="function",
        parts=tuple(
            Part(
                name=language,
                files=(
                    PublishedFile(
                        f"https://s3.amazonaws.com/code-search-net/CodeSearchNet/v2/{language}.zip",
                        holds=tuple(
                            f"{language}/final/jsonl/{name}/{language}_{name}_*.jsonl.gz" for name in names.values()
                        ),
                    ),
                ),
                splits=dict(zip(names, counts[language], strict=True)),
                read=formats.json_lines(
                    {split: f"{language}_{name}_*.jsonl.gz" for split, name in names.items()},
                    formats.code_search_net_row,
                ),
                language=language,
            )
            for language in counts
        ),
    )


def _spider() -> PublicSet:
    digests = {
        "train_spider": "git:673f7c4ca415a4fd1ebb8654960c2ff18cbc90c3",
        "dev": "sha256:30d64a3fccde493226df79687aed9e4a1c0129525baf44f29c0573d914d758a4",
        "tables": "sha256:61bb20aa401f03164e2d7f3b16509b7b5f79cc9c943ca7bd159046df1159e2ed",
    }
    homepage = "https://yale-lily.github.io/spider"
    return PublicSet(
        name="spider",
        title="questions about databases and SQL queries; databases of dev are not in train, test is withheld",
        homepage=homepage,
        licence="CC-BY-SA-4.0",
        citation="Yu et al. 2018, Spider: A Large-Scale Human-Labeled Dataset for Complex and Cross-Domain Semantic"
        " Parsing and Text-to-SQL Task",
        metric="exact set match, execution match",
        kind="query",
        parts=(
            Part(
                name="",
                files=(
                    *(
                        _github(
                            "taoyds/spider",
                            "b7b5b8c890cd30e35427348bb9eb8c6d1350ca7c",
                            f"evaluation_examples/examples/{name}.json",
                            digest,
                        )
                        for name, digest in digests.items()
                    ),
                    PublishedFile(homepage, holds=("database/*/*.sqlite",), by_hand=True, optional=True),
                ),
                splits={"train": 7000, "dev": 1034},
                read=formats.spider({"train": "train_spider.json", "dev": "dev.json"}, "tables.json"),
                language="sql",
            ),
        ),
    )


def _logical_forms(name: str, title: str, archive: str, train: int, test: int) -> PublicSet:
    return PublicSet(
        name=name,
        title=title,
        homepage="https://github.com/donglixp/lang2logic",
        licence="MIT",
        citation="Dong & Lapata 2016, Language to Logical Form with Neural Attention",
        metric="logic_match",
        kind="query",
        parts=(
            Part(
                name="",
                files=(PublishedFile(f"http://dong.li/lang2logic/{archive}.zip", holds=("*train.txt", "*test.txt")),),
                splits={"train": train, "test": test},
                read=formats.tab_separated({"train": "train.txt", "test": "test.txt"}),
                language="",
            ),
        ),
    )


SETS = MappingProxyType(
    {
        public.name: public
        for public in (
            _humaneval(),
            _mbpp(),
            _odex(),
            _conala(),
            _tldr(),
            _nl2bash(),
            _nlrx(),
            _django(),
            _hearthstone(),
            _concode(),
            _code_search_net(),
            _spider(),
            _logical_forms(
                "jobs", "questions about jobs as Prolog, entities anonymised", "seq2seq_jobqueries", 500, 140
            ),
            _logical_forms(
                "geo", "questions of geography as lambda calculus, entities anonymised", "seq2seq_geoqueries", 600, 280
            ),
        )
    }
)


def is_public_set(dataset: str) -> bool:
    """Whether ``NAME``, ``NAME/PART`` or either with ``:VERSION`` names a set of the table."""
    return _names(dataset)[0] in SETS


def public_set(dataset: str) -> tuple[PublicSet, Part]:
    """A set and its part by ``NAME`` or ``NAME/PART``.

    Raises:
      UserError: there is no such set or part.
    """
    name, part = _names(dataset)
    if name not in SETS:
        raise UserError(f"source 'tfds:{dataset}' is unknown{nearest(name, SETS)}; sets are {', '.join(SETS)}")
    return SETS[name], SETS[name].part(part)


def _names(dataset: str) -> tuple[str, str]:
    name, _, part = dataset.partition(":")[0].partition("/")
    return name, part
