"""Saving checkpoints during training, and uploading the run's small files."""

from __future__ import annotations

from t2c_jax import runtime
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.train.hooks import Hook, LoopState, Rank
from t2c_jax.train.state import checkpoint_state
from t2c_jax.workdir import PER_PROCESS_FILES, RUN_FILES


class Checkpointing(Hook):
    """Saves the state every so many steps, after the last one, and where a hook requests it.

    Metrics are fetched before: no checkpoint holds a step whose loss is not known to be finite. The state is copied,
    then written in the background.
    """

    rank = Rank.SAVE

    def __init__(self, checkpoints: Checkpoints, every: int) -> None:
        self._checkpoints, self.every = checkpoints, every

    def is_due(self, run: LoopState) -> bool:
        """Also before the run stops."""
        return super().is_due(run) or run.save_requested or run.stopping

    def __call__(self, run: LoopState) -> None:
        """Starts the save, with what the hooks need to resume."""
        stored = {hook.name: hook.stored() for hook in run.hooks if hook.name}
        self._checkpoints.save(
            run.step, checkpoint_state(run.state), run.held_out_loss, ranking=run.ranking, notes=stored
        )
        run.timer.mark("checkpoint")

    def finish(self, run: LoopState) -> None:
        """Waits until everything is on disk."""
        self._checkpoints.wait()
        self._checkpoints.close()


class Upload(Hook):
    """Uploads the run's small files to its object store, if it has one, whenever a checkpoint is saved."""

    rank = Rank.SAVE

    def __init__(self, checkpointing: Checkpointing) -> None:
        self._checkpointing = checkpointing

    def is_due(self, run: LoopState) -> bool:
        """As the checkpoints."""
        return self._checkpointing.is_due(run)

    def __call__(self, run: LoopState) -> None:
        """Starts the upload.

        Raises:
          UserError: another run has taken the workdir.
        """
        run.workdir.check_held()
        run.workdir.push(RUN_FILES if runtime.is_primary() else PER_PROCESS_FILES)

    def finish(self, run: LoopState) -> None:
        """Waits for the uploads."""
        run.workdir.wait_for_push()
        run.timer.mark("checkpoint")
