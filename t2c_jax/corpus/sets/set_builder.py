"""The public sets as TFDS builders. TensorFlow is imported where a builder is made.

``builder_class(NAME)`` registers a set with TFDS, so that ``tfds.load(NAME)`` works from then on.
"""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from t2c_jax import console
from t2c_jax.corpus.dataset import import_tensorflow, quiet_tfds
from t2c_jax.corpus.sets.catalog import SETS, public_set
from t2c_jax.corpus.sets.downloads import download_all
from t2c_jax.corpus.sets.public_set import Part, PublicSet, Row
from t2c_jax.corpus.sets.published_files import (
    Files,
    NotAsPublished,
    downloaded_files,
    file_digest,
    find_files,
)
from t2c_jax.errors import UserError
from t2c_jax.languages.execution import Execution

VERSION = "1.0.0"
_TEXTS = ("id", "text", "code", "language", "kind", "group", "tests")


def open_set(dataset: str, set_files: str = "", accept_counts: bool = False) -> Any:
    """The builder of a public set, which is written below TFDS's data directory first if it is not there yet.

    It is written again where ``set_files`` holds other files than those that it was made of.

    Args:
      dataset: ``NAME`` or ``NAME/PART``.
      set_files: the directory with the published files; if empty, they are downloaded.
      accept_counts: whether a set with other numbers of pairs than published is accepted.

    Raises:
      UserError: files are missing, cannot be downloaded or are others than the published ones, or the counts differ.
    """
    public, part = public_set(dataset)
    source = f"source 'tfds:{dataset}'"
    given = None
    try:
        if set_files:
            given = find_files(public.name, part.name, part.files, Path(set_files).expanduser())
        builder = _builder(public, part)
        builder.given, builder.accepts_counts = given, accept_counts
        if builder.info.splits and (given is None or builder.info.metadata.get("files") == _digests(given)):
            _check_counts(
                source, part, {name: split.num_examples for name, split in builder.info.splits.items()}, accept_counts
            )
            return builder
        if builder.info.splits:
            shutil.rmtree(builder.data_dir)
            builder = _builder(public, part)
            builder.given, builder.accepts_counts = given, accept_counts
        # TFDS prints on standard output, where only the result of a command goes.
        with quiet_tfds(), _own_progress(), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except NotAsPublished as reason:
        raise UserError(f"{source}: {reason}; {_by_hand(part, set_files)}") from None
    return builder


@contextlib.contextmanager
def _own_progress() -> Iterator[None]:
    """Without TFDS's progress bars."""
    _, tfds = import_tensorflow()
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.enable_progress_bar()


def prepared_set(dataset: str) -> Any:
    """The builder of a public set as ``open_set`` left it."""
    return _builder(*public_set(dataset))


def _by_hand(part: Part, set_files: str) -> str:
    """What to do where the files cannot be read."""
    needed = [file for file in part.files if not file.optional]
    places = ", ".join(dict.fromkeys(file.url if file.by_hand else file.url.rpartition("/")[0] for file in needed))
    if set_files:
        return f"the set is published at {places}"
    names = ", ".join(dict.fromkeys(file.name for file in needed))
    return f"download {names} from {places} and name their directory with --config.corpus.set_files=DIR"


def _builder(public: PublicSet, part: Part) -> Any:
    with quiet_tfds():
        return builder_class(public.name)(config=part.name or None)


@functools.cache
def builder_class(name: str) -> Any:
    """The TFDS builder of a set, registered with TFDS under its name; each part is a builder config."""
    _, tfds = import_tensorflow()
    public = SETS[name]

    class SetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[name-defined, call-arg]
        VERSION = tfds.core.Version(VERSION)
        BUILDER_CONFIGS = [  # noqa: RUF012 # TFDS's own name and type
            tfds.core.BuilderConfig(name=part.name, description=f"{public.title}: {part.name}")
            for part in public.parts
            if part.name
        ]
        code_path = None  # TFDS would look for checksums beside it, with a library that it does not bring along
        given: Files | None = None
        accepts_counts = False

        @property
        def part(self) -> Part:
            return public.part(self.builder_config.name if self.builder_config else "")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{public.title}. Metric: {public.metric}.",
                features=tfds.features.FeaturesDict({text: tfds.features.Text() for text in _TEXTS}),
                supervised_keys=("text", "code"),
                homepage=public.homepage,
                citation=public.citation,
                license=public.licence or None,
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict(),
            )

        def _split_generators(self, dl_manager: Any) -> Mapping[str, Any]:
            part = self.part
            # Not by dl_manager: it tries once, and checks no size.
            files = self.given or downloaded_files(part.files, download_all(part.files, self._downloads()))
            counts = {split: sum(1 for _ in part.read(files, split)) for split in part.splits}
            _check_counts(f"source 'tfds:{self.info.full_name}'", part, counts, self.accepts_counts)
            self.info.metadata["files"] = _digests(files)
            console.say(
                f"tfds:{self.info.full_name}: writing {sum(counts.values()):,} pairs to {self.data_path.parent}"
            )
            return {split: self._generate_examples(files, split, count) for split, count in counts.items() if count}

        def _downloads(self) -> Path:
            return Path(self.data_path).parents[self.info.full_name.count("/")] / "downloads"

        def _generate_examples(self, files: Files, split: str, count: int) -> Iterator[tuple[int, dict[str, str]]]:
            with console.progress(f"write {split}", count, "pairs") as bar:
                for number, row in enumerate(console.advancing(bar, self.part.read(files, split))):
                    yield number, _example(public, self.part, row, f"{split}/{number}")

    return type(name, (SetBuilder,), {"name": name, "__module__": __name__})


def _example(public: PublicSet, part: Part, row: Row, place: str) -> dict[str, str]:
    set_id = "/".join(filter(None, (public.name, part.name, place)))
    tests: Execution | None = row.get("tests")
    return {
        "id": row.get("id", set_id),
        "text": row["text"],
        "code": row["code"],
        "language": part.language,
        "kind": public.kind,
        "group": row.get("group", ""),
        "tests": "" if tests is None else tests.to_json(),
    }


def _digests(files: Files) -> dict[str, str]:
    archives = {path: file_digest(path) for path in {path for path, _ in files.places.values()}}
    return {name: archives[path] for name, (path, _) in sorted(files.places.items())}


def _check_counts(source: str, part: Part, found: Mapping[str, int], accepted: bool) -> None:
    """Compares numbers of pairs with the published ones.

    Raises:
      UserError: they differ and that is not accepted; if it is, a warning is printed.
    """
    differing = [
        f"{split} has {found.get(split, 0):,} pairs, published {count:,}"
        for split, count in part.splits.items()
        if found.get(split, 0) != count
    ]
    if not differing:
        return
    difference = f"{source} differs from the published set: {'; '.join(differing)}"
    if not accepted:
        raise UserError(f"{difference}; get the published files, or accept it with --config.corpus.accept_counts=True")
    console.warn(difference)
