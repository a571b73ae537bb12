"""A run that resumes on other devices sees the same data, and has the losses of a run that was not interrupted."""

import re
import shutil

import jax
import pytest
from small_run import main, prepared, records  # noqa: F401

from t2c_jax.data.pipeline import Batches
from t2c_jax.train import setup

# TensorStore's futures may outlive the event loop that Orbax ran them in.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PARTS = (  # steps up to which it trains, how many devices it finds, the mesh that it asks for
    (4, 1, (1, 1, 1)),
    (8, 4, (2, 2, 1)),
    (12, 8, (2, 2, 2)),
)


def test_a_run_resumes_on_other_devices(prepared, tmp_path, monkeypatch, capsys):  # noqa: F811
    """On 1 device, then on 4, then on 8: the batches and losses are those of one device all along."""
    _, workdir = prepared
    make_mesh, seen, batch_of = setup.make_mesh, [], Batches.batch

    def batch(self, step):
        made = batch_of(self, step)
        if self._repeat:
            seen.append((step, made["decoder_target_tokens"].tolist()))
        return made

    monkeypatch.setattr(Batches, "batch", batch)

    def trained(path, steps, devices, sizes):
        """The batches, by number, that training up to this step took."""
        options = [f"mesh.{axis}={size}" for axis, size in zip(("data", "fsdp", "tensor"), sizes, strict=True)]
        options += [f"train.steps={steps}", "train.save_every=4", "train.eval_every=0", "optimizer.schedule=constant"]
        with monkeypatch.context() as patch:
            patch.setattr(setup, "make_mesh", lambda *given: make_mesh(*given[:5], jax.devices()[:devices]))
            assert main("train", "--workdir", path, *(f"--config.{option}" for option in options)) == 0
        found, seen[:] = sorted(seen), []
        return found

    stayed = shutil.copytree(workdir, tmp_path / "stayed")
    batches = trained(stayed, 12, 1, (1, 1, 1))
    capsys.readouterr()
    assert [batch for part in PARTS for batch in trained(workdir, *part)] == batches
    assert re.findall(r"resuming from the checkpoint of step (\d+)", capsys.readouterr().err) == ["4", "8"]
    ours, theirs = ([line for line in records(path) if line["kind"] == "train"] for path in (workdir, stayed))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == [4, 8, 12]
    for one, other in zip(ours, theirs, strict=True):
        # Sums over devices come in another order, and eight steps of Adam carry the last bits on.
        assert one["nll"] == pytest.approx(other["nll"], rel=1e-4)
