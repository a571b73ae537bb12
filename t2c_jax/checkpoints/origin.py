"""The run that another run starts from (config.origin), opened once for all that is taken from it.

Under adapters (config.lora) the origin is the base: no checkpoint of the run holds its parameters, so they are read
again whenever the run resumes or answers. Parameters that the base lacks, such as a new head, train in full beside the
adapters.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax import mesh as meshes
from t2c_jax.checkpoints import partial_restore
from t2c_jax.checkpoints.bases import Bases
from t2c_jax.checkpoints.checkpoint import Checkpoints, checkpoint_identity
from t2c_jax.checkpoints.compatibility import Difference, Settings, check_settings, different_settings
from t2c_jax.checkpoints.metadata import adapter_metadata
from t2c_jax.checkpoints.partial_restore import Shapes, Transfer, VocabularyMap, map_vocabulary
from t2c_jax.checkpoints.pytrees import abstract_on, flatten, shapes, unflatten
from t2c_jax.config import DataConfig, LoraConfig, ModelConfig, OriginConfig
from t2c_jax.errors import UserError
from t2c_jax.models import lora as adapters_of
from t2c_jax.models.adapted import Adapted
from t2c_jax.models.definition import Definition, Params
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import ENCODER, load_tokenizer
from t2c_jax.workdir import Workdir


class Origin:
    """Another run: its config, tokenizer and parameters.

    Attributes:
      workdir: its workdir.
      settings: the parts of its config under which its parameters are read.
    """

    def __init__(self, config: OriginConfig) -> None:
        """Reads its config, nothing else yet.

        Raises:
          UserError: there is no such run, or it has no tokenizer.
        """
        self._config, self.workdir = config, Workdir(config.run)
        hint = f"make it with t2c import --from DIR --workdir {self.workdir.name}, or name another"
        path = self.workdir.config
        if not path.is_file():
            raise UserError(
                f"config.origin.run: '{self.workdir.name}' is not the workdir of an import or of a run; {hint}"
            )
        try:
            values = json.loads(path.read_text("utf-8"))
            theirs = configs.from_stored(values, str(path), complete=False)  # perhaps an encoder alone
        except (ValueError, TypeError, AttributeError):
            raise UserError(f"config.origin.run: '{path}' is damaged; {hint}") from None
        self.settings = Settings(theirs.model, theirs.data)
        self._lora, self._origin = theirs.lora, theirs.origin
        self.workdir.manifest("tokenizer")
        self._kept: dict[str, jax.Array] = {}  # merged parameters, which are read one part after another

    @functools.cached_property
    def _checkpoints(self) -> Checkpoints:
        expected = adapter_metadata(self._lora, "" if self._base is None else self._base.identity)
        return Checkpoints(self.workdir.checkpoints, expected, read_only=True)

    @functools.cached_property
    def _base(self) -> Origin | None:
        return Origin(self._origin) if self._lora.rank else None

    @functools.cached_property
    def step(self) -> int:
        """The checkpoint that config.origin.step names; the best one by default.

        Raises:
          UserError: there is no such checkpoint.
        """
        steps, directory = self._checkpoints.steps(), self.workdir.checkpoints
        step = self._config.step or self._checkpoints.best()
        if step is None:
            raise UserError(f"config.origin.run: '{directory}' has no checkpoint; finish that run, or name another")
        if step not in steps:
            have = ", ".join(map(str, steps)) or "none"
            raise UserError(f"config.origin.step: '{directory}' has no checkpoint {step}; it has {have}")
        return step

    @property
    def name(self) -> str:
        """The run and the checkpoint, for messages."""
        return f"'{self.workdir.name}' (checkpoint {self.step})"

    @functools.cached_property
    def identity(self) -> str:
        """The identity of the checkpoint."""
        return checkpoint_identity(self.workdir.checkpoints / str(self.step))

    @property
    def has_target_tokenizer(self) -> bool:
        """False for an imported encoder, whose tokenizer is for sources alone."""
        return not self.settings.model.encoder.own_tokenizer or (self.workdir.tokenizer / ENCODER).is_dir()

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The one that writes its targets; of an imported encoder, its only one."""
        return load_tokenizer(self.workdir.tokenizer)

    @functools.cached_property
    def _definition(self) -> Definition:
        return Definition(self.settings.model, self.tokenizer.vocab_size)

    @functools.cached_property
    def shapes(self) -> Shapes:
        """The shape of each of its parameters, by dotted path; adapters change none."""
        if self._base is not None:
            return shapes(self._definition.abstract_params())
        return self._checkpoints.params_shapes(self.step)

    def restore(self, abstract_params: Params) -> Params:
        """Some of its parameters, laid out as ``abstract_params``; of a run with adapters, merged.

        Raises:
          UserError: the checkpoint cannot be read, or its adapters are of another base.
        """
        wanted = flatten(abstract_params)
        if self._base is None or not wanted:
            return self._checkpoints.restore_any_params(self.step, abstract_params) if wanted else {}
        merged = self._merged(next(iter(wanted.values())).sharding.mesh)
        return unflatten({path: jax.device_put(merged[path], leaf.sharding) for path, leaf in wanted.items()})

    def _merged(self, mesh: jax.sharding.Mesh) -> Mapping[str, jax.Array]:
        if not self._kept:
            definition = self._definition
            whole = abstract_on(definition.abstract_params(), definition.shardings(mesh))
            read = functools.partial(self._checkpoints.restore_any_params, self.step)
            self._kept = flatten(restore_params(read, whole, definition, self._lora, self._base))
        return self._kept

    def close(self) -> None:
        """Ends what reads its checkpoints; they are opened again where they are needed again."""
        for name in ("_checkpoints", "_base"):
            if (opened := self.__dict__.pop(name, None)) is not None:
                opened.close()
        self._kept = {}

    def __enter__(self) -> Origin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, definition: Definition) -> list[Transfer]:
        """Where each parameter of a model gets its first value (``partial_restore.plan``).

        Raises:
          UserError: the parameters do not fit.
        """
        model = self.settings.model
        return partial_restore.plan(
            self.shapes,
            shapes(definition.abstract_params()),
            flatten(definition.parameter_info()),
            self.name,
            new_vocabulary="tokenizer" not in self._config.take,
            output_scale=model.width**-0.5 if model.scale_tied_output else 1.0,
        )

    def lacks(self, definition: Definition) -> frozenset[str]:
        """Dotted paths of a model's parameters that it has nothing for: adapters' modules to save.

        Raises:
          UserError: the parameters do not fit.
        """
        return frozenset(transfer.path for transfer in self.plan(definition) if transfer.how == "initialised")

    def check(self, settings: Settings, vocab_size: int, lora: LoraConfig) -> None:
        """Whether it has what a run takes from it, before any work is done for the run.

        Args:
          settings: of the run.
          vocab_size: of the run's tokenizer, unless it takes this one's.
          lora: the run's adapters.

        Raises:
          UserError: it has another encoder, its parameters do not fit, or they were trained under other settings.
        """
        self._check_encoder(settings.model)
        if "parameters" not in self._config.take:
            return
        if "tokenizer" in self._config.take and self.has_target_tokenizer:
            vocab_size = self.tokenizer.vocab_size
        definition = Definition(settings.model, vocab_size)
        transfers = self.plan(definition)
        self._differences(settings, transfers)
        if lora.rank:
            _check_base(transfers, self.name, lora)
            adapters_of.axis_names(definition.parameter_info(), lora, _initialised(transfers))

    def base_params(self, abstract_params: Params, definition: Definition, lora: LoraConfig) -> Params:
        """The frozen parameters under adapters of a model, laid out as ``abstract_params``.

        Raises:
          UserError: it lacks one of them as it is here.
        """
        if lora.rank:
            wanted = flatten(abstract_params)
            frozen = [one for one in self.plan(definition) if one.path in wanted]
            _check_base(frozen, self.name, lora, missing=True)
        return self.restore(abstract_params)

    def initial_params(
        self,
        definition: Definition,
        data: DataConfig,
        lora: LoraConfig,
        random: Params,
        targets: Params,
        tokenizer: Tokenizer | None = None,
    ) -> Params:
        """The parameters that a run starts from: its own random ones, replaced by what this origin has.

        Args:
          definition: the run's model.
          data, lora: of the run's config.
          random: initialised at random; under adapters the frozen ones alone. Emptied, so that none exists twice.
          targets: shapes, dtypes and shardings of ``random``.
          tokenizer: the run's, that writes targets; None where it is the origin's.

        Raises:
          UserError: the parameters, the settings or the tokenizer do not fit.
        """
        self._check_encoder(definition.config)
        vocabulary = self._vocabulary(tokenizer)
        transfers = self.plan(definition)
        wanted, params = flatten(targets), flatten(random)
        if lora.rank:
            _check_base([one for one in transfers if one.path in wanted], self.name, lora, missing=True)
        differing = self._differences(Settings(definition.config, data), transfers)
        random.clear()
        copied = [one.path for one in transfers if one.how == "copied" and one.source == one.path]
        for path in copied:
            del params[path]  # frees its memory before the source's is read
        params |= flatten(self.restore(unflatten({path: wanted[path] for path in copied})))
        for one in transfers:
            if one.source and one.path not in copied:
                target = wanted[one.path]
                mesh = target.sharding.mesh
                # What is extended is split along other axes than the one that differs; rows of a vocabulary are not.
                layout = target.sharding if one.how == "extended" else NamedSharding(mesh, PartitionSpec())
                abstract = jax.ShapeDtypeStruct(self.shapes[one.source], target.dtype, sharding=layout)
                source = flatten(self.restore(unflatten({one.source: abstract})))[one.source]
                combined = functools.partial(partial_restore.combine, one, vocabulary=vocabulary)
                params[one.path] = jax.jit(combined, out_shardings=target.sharding)(source, params[one.path])
        if runtime.is_primary():
            _show(transfers, differing, vocabulary, self.name)
        return unflatten(params)

    def _check_encoder(self, model: ModelConfig) -> None:
        theirs, ours = self.settings.model.encoder.type, model.encoder.type
        if theirs != ours:
            raise UserError(
                f"config.origin.run: '{self.workdir.name}' holds an encoder of type {theirs}, and config.model.encoder"
                f" is of type {ours}; set config.model.encoder={theirs}, or name another run"
            )

    def _vocabulary(self, tokenizer: Tokenizer | None) -> VocabularyMap | None:
        """The map from this run's pieces to the origin's; None where it has none, or they are the same."""
        if not self.has_target_tokenizer:
            return None
        ours = tokenizer or self.tokenizer
        if "tokenizer" not in self._config.take:
            return map_vocabulary(ours, self.tokenizer)
        if ours.digest != self.tokenizer.digest:
            raise UserError(
                f"the tokenizer of this run is not that of config.origin.run, '{self.workdir.name}': run t2c tokenizer"
                " and t2c prepare, or leave tokenizer out of config.origin.take"
            )
        return None

    def _differences(self, settings: Settings, transfers: Collection[Transfer]) -> list[Difference]:
        parts = {one.path.partition(".")[0] for one in transfers if one.source}
        differing = different_settings(settings, self.settings, parts)
        check_settings(self._config, differing, self.name)
        return differing


def modules_to_save(config: OriginConfig, lora: LoraConfig, definition: Definition) -> frozenset[str]:
    """Dotted paths of a model's parameters that train in full beside adapters, since config.origin lacks them.

    Raises:
      UserError: the origin is missing, or its parameters do not fit.
    """
    if not lora.rank:
        return frozenset()
    with Origin(config) as origin:
        return origin.lacks(definition)


def restore_params(
    read: Callable[[Any], Any],
    abstract_params: Params,
    definition: Definition,
    lora: LoraConfig,
    base: Origin | None,
) -> Params:
    """The parameters that a run answers with: its checkpoint's, or its adapters merged into their base.

    Args:
      read: restores part of the checkpoint, ``Checkpoints.restore_params`` of one step.
      abstract_params: shapes, dtypes and shardings to restore into.
      definition: the run's model.
      lora: its adapters.
      base: the run whose parameters they adapt; None without adapters.

    Raises:
      UserError: as ``read``; or the base lacks a parameter.
    """
    if base is None:
        return read(abstract_params)
    adapters = _adapters(read, abstract_params, definition, lora, base)
    frozen = base.base_params(_frozen(abstract_params, definition, base), definition, lora)
    merge = functools.partial(adapters_of.merged, info=definition.parameter_info(), config=lora)
    out = jax.tree.map(lambda leaf: leaf.sharding, abstract_params)
    with jax.set_mesh(jax.tree.leaves(abstract_params)[0].sharding.mesh):
        return jax.jit(merge, out_shardings=out, donate_argnums=0)(frozen, adapters)


def adapted_params(
    read: Callable[[Any], Any],
    abstract_params: Params,
    definition: Definition,
    lora: LoraConfig,
    base: Origin,
    bases: Bases,
) -> Adapted:
    """As ``restore_params``, but not merged: the base's arrays are those of ``bases``."""

    def read_base(wanted: Params) -> Params:
        return base.base_params(wanted, definition, lora)

    adapters = _adapters(read, abstract_params, definition, lora, base)
    frozen = bases.params(base.identity, _frozen(abstract_params, definition, base), read_base)
    return Adapted(frozen, adapters, definition, lora)


def _frozen(abstract_params: Params, definition: Definition, base: Origin) -> Params:
    return adapters_of.divided(abstract_params, base.lacks(definition))[0]


def _adapters(
    read: Callable[[Any], Any], abstract_params: Params, definition: Definition, lora: LoraConfig, base: Origin
) -> Params:
    """The adapters of a checkpoint, with the parameters that trained in full."""
    info, full = definition.parameter_info(), base.lacks(definition)
    initial = functools.partial(adapters_of.init, info=info, config=lora, modules_to_save=full)
    mesh = jax.tree.leaves(abstract_params)[0].sharding.mesh
    layout = meshes.shardings(adapters_of.axis_names(info, lora, full), mesh)
    adapters: Params = read(abstract_on(jax.eval_shape(initial, jax.random.key(0), abstract_params), layout))
    return adapters


def _check_base(transfers: Collection[Transfer], where: str, lora: LoraConfig, *, missing: bool = False) -> None:
    """Refuses a base whose parameters would have to change; adapters leave them as they are."""
    for one in transfers:
        unchanged = one.how == "copied" and one.source == one.path
        if not unchanged and one.how != "dropped" and (missing or one.how != "initialised"):
            raise UserError(
                f"config.lora.rank={lora.rank}: {where} does not have the parameter {one.path} as it is here"
                f" ({one.describe(None)}), and adapters leave their base as it is; train the model with"
                " config.lora.rank=0 first, and name that run in config.origin.run"
            )


def _initialised(transfers: Collection[Transfer]) -> frozenset[str]:
    return frozenset(one.path for one in transfers if one.how == "initialised")


def _show(
    transfers: Collection[Transfer], differing: Collection[Difference], vocabulary: VocabularyMap | None, where: str
) -> None:
    rows = [(one.path, " x ".join(map(str, one.shape)) or "1", one.describe(vocabulary)) for one in transfers]
    rows += [(f"config.{key}", "", f"{here}, there {there}") for key, here, there in differing]
    console.table(f"Initial parameters: from {where}, or at random", ("parameter", "shape", ""), rows)
