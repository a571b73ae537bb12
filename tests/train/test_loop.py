"""The train loop at its edges: non-finite losses, finished runs, changed configs, what is logged and saved."""

import json
import math
import threading
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from small_run import main, prepared, records, trained  # noqa: F401
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import experiment, one_device, open_data

from t2c_jax.data.tokens import Tokens
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train import held_out_loss as held_out
from t2c_jax.train.batches import Data, prefetched
from t2c_jax.train.hooks import flat_metrics
from t2c_jax.train.telemetry.goodput import GoodputTimer
from t2c_jax.train.telemetry.running_means import RunningMeans
from t2c_jax.workdir import Workdir

# TensorStore's futures may outlive the event loop that Orbax ran them in.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def steps_in(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def failed(capsys):
    """The one line of a failed command, and nothing that looks like a traceback."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("t2c: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_loss_that_is_not_finite_stops_the_run_before_a_checkpoint(prepared, capsys):  # noqa: F811
    """The message names the step, its batch is in a file, and no checkpoint holds its update."""
    _, workdir = prepared
    wild = ["--config.optimizer.learning_rate=1e30", "--config.train.save_every=1"]
    assert main("train", "--workdir", workdir, *wild) == 2
    line = failed(capsys)
    step = int(line.split("the loss of step ")[1].split()[0])
    assert f"nonfinite_step_{step}.npz" in line
    assert "config.optimizer.learning_rate" in line
    kept = np.load(workdir / f"nonfinite_step_{step}.npz")
    assert kept["decoder_target_tokens"].shape == (8, 96)
    assert len(kept["pair_ids"]) > 0
    assert all(number < step for number in steps_in(workdir))
    for path in (workdir / "checkpoints").glob("[0-9]*"):
        pytest.fail(f"{path} was saved from an update that is not finite")
    assert main("train", "--workdir", workdir, "--config.optimizer.learning_rate=1e-3") == 0
    assert steps_in(workdir)[-1] == 12


def test_training_a_finished_run_again_changes_nothing(trained, capsys):  # noqa: F811
    before = records(trained)
    capsys.readouterr()
    assert main("train", "--workdir", trained, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 12
    assert result["dev_loss"] == before[-1]["nll"]
    assert result["tokens_per_second"] == 0
    assert records(trained) == before


def test_logged_records_and_saved_checkpoints(trained):  # noqa: F811
    lines = records(trained)
    assert [line["step"] for line in lines if line["kind"] == "train"] == [4, 8, 12]
    dev = {line["step"]: line for line in lines if line["kind"] == "dev"}
    assert set(dev) == {6, 12}
    assert dev[12]["nll_standard_error"] > 0
    best = min(dev, key=lambda step: dev[step]["nll"])
    assert steps_in(trained) == sorted({9, 12, best})
    events = EventAccumulator(str(trained / "tb"))
    events.Reload()
    assert {"train/loss", "dev/nll"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("dev/nll")] == [6, 12]
    assert [event.step for event in events.Scalars("time/steps")] == [4, 8, 12]
    assert events.Scalars("dev/nll")[-1].value == pytest.approx(dev[12]["nll"])


def test_a_finished_run_resumes_with_more_steps(trained, capsys):  # noqa: F811
    before = records(trained)
    assert main("train", "--workdir", trained, "--config.train.steps=15") == 0
    assert "resuming from the checkpoint of step 12" in capsys.readouterr().err
    assert records(trained)[: len(before)] == before
    assert records(trained)[-1]["step"] == 15


def test_resuming_with_another_width_is_refused(trained, capsys):  # noqa: F811
    steps = steps_in(trained)
    assert main("train", "--workdir", trained, "--config.model.width=32") == 2
    assert "config.model.width is 32 here and 16 in the checkpoint" in failed(capsys)
    assert steps_in(trained) == steps


def test_execution_settings_may_change_on_resume(trained):  # noqa: F811
    changes = ["model.scan=false", "model.remat=full", "model.dropout=0.0", "train.steps=13"]
    assert main("train", "--workdir", trained, *(f"--config.{change}" for change in changes)) == 0


def test_another_tokenizer_is_refused(trained, capsys):  # noqa: F811
    """The checkpoints were moved to a workdir with another tokenizer."""
    overrides = ["--config.tokenizer.vocab_size=440"]
    (trained / "checkpoints").rename(trained / "elsewhere")
    for command in ("tokenizer", "prepare"):
        assert main(command, "--workdir", trained, *overrides) == 0
    (trained / "elsewhere").rename(trained / "checkpoints")
    capsys.readouterr()
    assert main("train", "--workdir", trained) == 2
    assert "it has another tokenizer" in failed(capsys)
    assert main("generate", "--workdir", trained, "a list") == 2
    assert "it has another tokenizer" in failed(capsys)


def test_tokens_of_another_tokenizer_are_refused(prepared, capsys):  # noqa: F811
    _, workdir = prepared
    assert main("tokenizer", "--workdir", workdir, "--config.tokenizer.vocab_size=440") == 0
    assert main("train", "--workdir", workdir) == 2
    assert "were made by another tokenizer" in failed(capsys)


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_restored(trained, capsys):  # noqa: F811
    for file in (trained / "checkpoints" / "12").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before = records(trained)
    assert main("train", "--workdir", trained) == 0
    said = capsys.readouterr().err
    assert "warning: checkpoint 12 cannot be read" in said
    assert "resuming from the checkpoint of step 9" in said
    assert (trained / "checkpoints" / "damaged" / "12").is_dir()
    assert steps_in(trained)[-1] == 12
    # Eight devices always sum in the same order.
    assert records(trained) == before


def test_without_dev_pairs_there_is_no_dev_loss(prepared, capsys):  # noqa: F811
    config, workdir = prepared
    corpus = config.with_name("without_dev.jsonl")
    lines = config.with_name("corpus.jsonl").read_text().splitlines(keepends=True)
    corpus.write_text("".join(line for line in lines if '"dev"' not in line))
    for command in ("mine", "tokenizer", "prepare", "train"):
        capsys.readouterr()
        assert main(command, "--workdir", workdir, f"--config.corpus.sources={corpus}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["dev_loss"] is None


def test_held_out_losses_are_logged_by_task_and_averaged_over_own_tasks(monkeypatch):
    """Two tasks with decoder targets and two of tagging, one of them replayed; shares of 1/4, 1/2, 1/4 and 0."""

    def decoder_loss(nll, error):
        return {"nll": nll, "nll_standard_error": error, "accuracy": nll / 10, "tokens": 10.0}

    measured = {
        "mine": decoder_loss(1.0, 0.3),
        "other": decoder_loss(4.0, 0.3),
        "tags": {"tagging_nll": 0.1, "tagging_accuracy": 0.5},
        "before": {"tagging_nll": 0.9, "tagging_accuracy": 0.25},
    }
    limits = {}

    def measure(compiled, params, name, limit):
        limits[name] = limit
        return measured[name]

    monkeypatch.setattr(held_out, "measure", measure)

    def measured_with(**shares):
        return held_out.measure_tasks(None, None, Data(None, {name: name for name in shares}, shares), 4)

    found = measured_with(mine=0.25, other=0.5, tags=0.25, before=0.0)
    assert found == {
        "nll": pytest.approx(3.0),
        "nll/mine": 1.0,
        "nll/other": 4.0,
        "nll_standard_error": pytest.approx(0.3 * math.sqrt(1 + 4) / 3),
        "accuracy": pytest.approx(0.3),
        "accuracy/mine": 0.1,
        "accuracy/other": 0.4,
        "tokens": 20.0,
        "tagging_nll": 0.1,
        "tagging_nll/tags": 0.1,
        "tagging_nll/before": 0.9,
        "tagging_accuracy": 0.5,
        "tagging_accuracy/tags": 0.5,
        "tagging_accuracy/before": 0.25,
    }
    assert limits == {
        "mine": 2,
        "other": 2,
        "tags": 2,
        "before": 4,
    }  # own tasks lose no batches to replayed ones
    heads = measured_with(tags=1.0, mine=0.0)  # the task with decoder targets is replayed
    assert heads == {
        "tagging_nll": 0.1,
        "tagging_nll/tags": 0.1,
        "tagging_accuracy": 0.5,
        "tagging_accuracy/tags": 0.5,
        "nll/mine": 1.0,
        "accuracy/mine": 0.1,
    }


def test_other_losses_are_logged_where_there_is_no_held_out_loss(prepared, monkeypatch, capsys):  # noqa: F811
    _, workdir = prepared
    monkeypatch.setattr(held_out, "measure_tasks", lambda *_: {"tagging_nll/tags": 0.1, "nll/before": 2.0})
    assert main("train", "--workdir", workdir, "--json", "--config.train.steps=2") == 0
    assert json.loads(capsys.readouterr().out)["dev_loss"] is None
    (line,) = [line for line in records(workdir) if line["kind"] == "dev"]
    assert (line["tagging_nll/tags"], line["nll/before"]) == (0.1, 2.0)


def test_a_batch_that_does_not_fit_the_devices_is_refused_before_any_work(prepared, capsys):  # noqa: F811
    _, workdir = prepared
    assert jax.device_count() == 8
    assert main("train", "--workdir", workdir, "--config.data.batch_size=12") == 2
    assert "config.data.batch_size=12 is not divisible by" in failed(capsys)
    assert not Workdir(workdir).checkpoints.exists()


@dataclass
class Ids:
    """A tokenizer without pieces."""

    vocab_size: int = 8
    start: int = 0
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = (1,)
    target_before: tuple[int, ...] = ()
    target_after: tuple[int, ...] = (1,)
    digest: str = ""

    def encode_batch(self, texts):
        return [np.zeros(0, np.int32) for _ in texts]


def test_rare_targets_weigh_more_in_training_and_not_on_dev_pairs(tmp_path, monkeypatch):
    """1 + lambda log(N / n) by hand: of two targets, 3 is in both and 4 and 5 in one."""
    splits = {"train": [[3, 4, 4], [3, 5]], "dev": [[4, 3, 6]]}
    monkeypatch.setattr(
        Tokens, "open", lambda _, split: Tokens.of([[7]] * len(splits[split]), splits[split], ["a", "b"])
    )
    config = experiment(data={"batch_size": 2, "pack": False, "decoder_length": 5}, train={"idf_weight": 0.5})
    tokenizer = Ids()
    data = open_data(config, Workdir(tmp_path), Tokenizers(tokenizer, tokenizer, "text_to_code"), one_device(config))
    batch, rare = data.train.batch(0), 1 + 0.5 * math.log(2)
    found = {tuple(row): weights for row, weights in zip(*rows_of(batch), strict=True)}
    assert found.keys() == {(3, 4, 4, 1, 0), (3, 5, 1, 0, 0)}
    # float32
    assert found[3, 4, 4, 1, 0] == pytest.approx([1, rare, rare, 1, 0], rel=1e-6)
    assert found[3, 5, 1, 0, 0] == pytest.approx([1, rare, 1, 0, 0], rel=1e-6)
    targets, weights = rows_of(data.dev[""].batch(0))
    assert (targets[0], weights[0]) == ([4, 3, 6, 1, 0], [1, 1, 1, 1, 0])


def rows_of(batch):
    return batch["decoder_target_tokens"].tolist(), batch["decoder_loss_weights"].tolist()


def test_sums_are_divided_once():
    first = {"loss": 6.0, "nll": 3.0, "correct": 1.0, "weight": 2.0, "denominator": 4.0, "source_tokens": 5.0}
    second = {"loss": 4.0, "nll": 2.0, "correct": 1.0, "weight": 8.0, "denominator": 16.0, "source_tokens": 5.0}
    running = RunningMeans(GoodputTimer())
    running.pending = [{**first, "target_tokens": 2.0, **NORMS}]
    for step in ({**second, "skipped": 0.0}, {**first, "loss": float("nan"), "skipped": 1.0}):
        running.step_finished()
        running.add({**step, "target_tokens": 8.0, **NORMS})
    values = running.take()
    assert (values["loss"], values["nll"], values["accuracy"]) == (0.5, 0.5, 0.2)
    assert running.take() == {}


def test_means_by_task_and_by_output_head():
    sums = {
        "loss": 1.0,
        "nll": 6.0,
        "correct": 0.0,
        "weight": 4.0,
        "denominator": 4.0,
        "target_tokens": 4.0,
        "source_tokens": 4.0,
    }
    by_task = flat_metrics({"task_nll": np.array([4.0, 2.0, 0.0]), "task_weight": np.array([1.0, 4.0, 0.0])}, "abc")
    head = {"tagging_nll": 3.0, "tagging_correct": 4.0, "tagging_weight": 6.0}
    running = RunningMeans(GoodputTimer())
    for _ in range(2):
        running.step_finished()
        running.add({**sums, **by_task, **head, **NORMS})
    values = running.take()
    assert (values["nll/a"], values["nll/b"]) == (4.0, 0.5)
    assert "nll/c" not in values  # it had no rows
    assert (values["tagging_nll"], values["tagging_accuracy"]) == (0.5, pytest.approx(2 / 3))


def test_prefetching_yields_the_first_batch_without_waiting_for_the_second():
    """The source makes its second batch only after the first one was used."""
    taken = threading.Event()

    def batches():
        yield {"x": np.zeros((8, 1), np.float32)}
        assert taken.wait(60), "the first batch waits for the second"
        yield {"x": np.ones((8, 1), np.float32)}

    ahead = prefetched(batches(), one_device())
    assert float(next(ahead)["x"].sum()) == 0
    taken.set()
    assert float(next(ahead)["x"].sum()) == 8
    assert list(ahead) == []


def test_an_error_of_the_data_pipeline_is_raised_in_the_loop():
    def batches():
        yield {"x": np.zeros((8, 1), np.float32)}
        raise OSError("gone")

    ahead = prefetched(batches(), one_device())
    next(ahead)
    with pytest.raises(OSError, match="gone"):
        next(ahead)


NORMS = {"gradient_norm": 1.0, "update_norm": 1.0, "learning_rate": 1.0}
