"""The corpus stage: sources in, a TFDS dataset and its card out."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2c_jax.config import CorpusConfig
from t2c_jax.console import progress, say, warn
from t2c_jax.corpus import dataset
from t2c_jax.corpus.archives import ArchiveTree
from t2c_jax.corpus.beam_runner import BeamRunner
from t2c_jax.corpus.card import Census, write_card
from t2c_jax.corpus.clean import Cleaned, clean
from t2c_jax.corpus.duplicates import leaders_here
from t2c_jax.corpus.held_out import HELD_OUT_RULES, find_held_out, write_sets
from t2c_jax.corpus.mine import ShardMaker
from t2c_jax.corpus.pairs import CODE_ONLY_KINDS, MINED_KINDS
from t2c_jax.corpus.pairs_file.split_names import splits_of_files
from t2c_jax.corpus.parts import SHARDS, finished_files, make_shards, plans, run_here
from t2c_jax.corpus.rules import REVISION
from t2c_jax.corpus.rules.file_rules import FILE_RULES
from t2c_jax.corpus.rules.licence_rule import LicenceRule
from t2c_jax.corpus.rules.prose_rules import PROSE_RULES, TEXT_LANGUAGES
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import FileTree, PairsFile, Resolved, resolve_all
from t2c_jax.corpus.tally import Tally
from t2c_jax.errors import UserError, nearest
from t2c_jax.languages.extractor import chosen_extractors
from t2c_jax.languages.forms import code_form, text_form
from t2c_jax.workdir import StageResult, Workdir

MALFORMED = "malformed.jsonl"
HELD_OUT = ".corpus.held_out"


def build_corpus(
    config: CorpusConfig, workdir: Workdir, workers: int | None = None, runner: BeamRunner | None = None
) -> StageResult:
    """Mines, cleans and writes ``WORKDIR/corpus``, unless it is up to date with the config and the sources.

    An interrupted build leaves its finished shards in ``WORKDIR/.corpus.shards``, and the next one uses them.

    Args:
      config: sources, limits, shares.
      workdir: the directory of the run.
      workers: processes that read files; all cores by default. The corpus does not depend on it.
      runner: mines and finds near-duplicates in Apache Beam instead. The corpus does not depend on it either.

    Raises:
      UserError: a source is missing, damaged or has too many malformed lines; no pair is left to train on; the disk is
        full. Malformed lines are then in ``WORKDIR/malformed.jsonl``, otherwise in the corpus.
    """
    for key, names, known in (
        ("kinds", config.kinds, MINED_KINDS),
        ("code_only", config.code_only, CODE_ONLY_KINDS),
        ("skip_files", config.skip_files, FILE_RULES),
        ("prose", config.prose, PROSE_RULES),
        ("text_language", tuple(filter(None, [config.text_language])), TEXT_LANGUAGES),
    ):
        for name in names:
            if name not in known:
                hint = nearest(name, known)
                raise UserError(f"config.corpus.{key}: '{name}' is unknown{hint}; known are {', '.join(known)}")
    text_form(config), code_form(config)
    LicenceRule(config.licences)
    versions = {name: extractor.version for name, extractor in sorted(chosen_extractors(config.extractors).items())}
    sources = resolve_all(config, skip=workdir.path)
    held_out_directory = workdir.path / HELD_OUT
    held_out = find_held_out(config, held_out_directory)
    excluded = {f"held out: {file.name}": file.digest for file in held_out}
    inputs = {source.name: source.digest for source in sources} | excluded
    made_by = {"rules": str(REVISION)}
    if any(isinstance(source, FileTree | ArchiveTree) for source in sources):
        made_by |= {f"extractor {name}": version for name, version in versions.items()}

    def build(directory: Path) -> Mapping[str, Any]:
        try:
            write_sets(held_out, config)
            read = excluded | made_by
            return _build(config, sources, held_out, read, directory, workdir.path / SHARDS, workers, runner)
        except UserError as error:  # the directory is deleted, but the user needs these lines
            malformed = directory / MALFORMED
            if not (malformed.is_file() and malformed.stat().st_size):
                raise
            malformed.replace(workdir.path / MALFORMED)
            kept = os.path.join(workdir.name, MALFORMED)
            raise UserError(f"{error}; the malformed lines are in '{kept}'") from None
        finally:
            shutil.rmtree(held_out_directory, ignore_errors=True)

    result = workdir.stage("corpus", config, inputs, build, made_by)
    shutil.rmtree(workdir.path / SHARDS, ignore_errors=True)  # even if a run before was killed just before it
    if result.ran:
        (workdir.path / MALFORMED).unlink(missing_ok=True)  # of an attempt that failed
        _report_result(result)
    return result


def _build(
    config: CorpusConfig,
    sources: list[Resolved],
    held_out: list[PairsFile],
    inputs: Mapping[str, str],
    directory: Path,
    shards_directory: Path,
    workers: int | None,
    runner: BeamRunner | None,
) -> Mapping[str, Any]:
    splits = splits_of_files(source for source in sources if isinstance(source, PairsFile))
    reports = [_report(source, splits) for source in sources]
    if recognised := ", ".join(f"{name} is {split}" for name, split in splits.items() if split):
        say(f"corpus: splits by file name: {recognised} (a line's own split goes first)")
    plan = plans(shards_directory, config, sources, reports, json.dumps(inputs, sort_keys=True))
    files = sum(len(source.files) if isinstance(source, FileTree | ArchiveTree) else 1 for source in sources)
    malformed = directory / MALFORMED
    done = finished_files(plan)
    if done:
        say(f"corpus: {done:,} files were mined by a run that did not finish; the others follow")
    with (
        malformed.open("w", encoding="utf-8") as quarantine,
        progress("mine", files, "files", done) as bar,
    ):
        maker = ShardMaker(config, tuple(held_out))
        run = runner.run_parts if runner else functools.partial(run_here, workers=workers)
        shards = make_shards(plan, maker, quarantine, bar.advance, run)
    cleaned = clean(shards, config, runner.leaders if runner else leaders_here)
    if not malformed.stat().st_size:
        malformed.unlink()
    if "train" not in cleaned.counts:
        raise UserError(_nothing_to_train_on(config, reports, cleaned))
    census = Census()
    with progress("write the corpus", sum(cleaned.counts.values()), "pairs") as bar:
        dataset.write_dataset(directory, census.watch(cleaned.pairs(), bar.advance), list(cleaned.counts))
    write_card(directory, reports, cleaned.drops, cleaned.replaced, len(cleaned.repeated_ids), census)
    skipped = sum(report.skipped.total() for report in reports)
    return {
        "pairs": sum(census.splits.values()),
        "splits": dict(census.splits),
        "kinds": dict(census.kinds),
        "code_only": census.code_only,
        "with_tests": census.tests.total(),
        "files": sum(report.files for report in reports),
        "found": sum(report.pairs for report in reports),
        "skipped": skipped,
        "dropped": cleaned.drops.total(),
        "held_out": sum(cleaned.drops.counts.get(rule, 0) for rule in HELD_OUT_RULES),
        "malformed": sum(report.malformed for report in reports),
    }


def _report(source: Resolved, splits: Mapping[str, str]) -> SourceReport:
    if isinstance(source, FileTree | ArchiveTree):
        return SourceReport(source.name, "", source.repository, source.commit, source.licence)
    return SourceReport(source.name, splits.get(source.name, ""))


def _nothing_to_train_on(config: CorpusConfig, reports: list[SourceReport], cleaned: Cleaned) -> str:
    found = sum(report.pairs for report in reports)
    files = sum(report.files for report in reports)
    if cleaned.counts:
        held = ", ".join(f"{count:,} in {split}" for split, count in cleaned.counts.items())
        return f"the corpus has no train split ({held}); mark lines as train, or add sources to config.corpus.sources"
    reasons = Tally()
    for report in reports:
        reasons.update(report.skipped)
    reasons.update(cleaned.drops)
    why = "; ".join(f"{reason}: {count:,}" for reason, count, _ in reasons.ranked()[:5]) or "nothing was skipped"
    names = ", ".join(config.sources)
    advice = "relax the limits in config.corpus" if found else "name sources with documented code or pairs"
    return f"the corpus of {names} is empty: {files:,} files, {found:,} pairs found, none kept ({why}); {advice}"


def _report_result(result: StageResult) -> None:
    counts = result.manifest["counts"]
    splits = counts["splits"]
    sizes = ", ".join(f"{split} {splits[split]:,}" for split in ("train", "dev", "test") if split in splits)
    parts = [f"{counts['pairs']:,} pairs ({sizes})"]
    if counts["code_only"]:
        parts.append(f"{counts['code_only']:,} of them are code without a text")
    if counts["with_tests"]:
        parts.append(f"{counts['with_tests']:,} have tests to run an answer on")
    if result.manifest["config"]["held_out"]:
        parts.append(f"{counts['held_out']:,} that overlap with config.corpus.held_out were dropped")
    say(f"corpus: {'; '.join(parts)}; {result.path / 'card.html'} lists what was read, skipped and dropped")
    for split in ("dev", "test"):
        if split not in splits:
            warn(f"the corpus has no {split} split: too few groups for config.corpus.{split}_share, or it is 0")
    if counts["malformed"]:
        sources = json.loads((result.path / "card.json").read_text("utf-8"))["sources"]
        places = [
            place
            for source in sources
            for reason, found in source["skipped"].items()
            if reason.startswith("malformed line")
            for place in found["examples"]
        ]
        examples = ", ".join(places[:3])
        warn(f"{counts['malformed']:,} malformed lines (such as {examples}) are in {result.path / MALFORMED}")
