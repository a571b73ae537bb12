"""``import t2c_jax``: a run opened from Python, and one trained from Python."""

import ast
import json
import math
import subprocess
import sys

import jax
import numpy as np
import pytest
from small_run import environment, main, prepared, records, trained, write_config  # noqa: F401

import t2c_jax
from t2c_jax.config import to_dict
from t2c_jax.data.templates import TargetTemplate
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PROMPTS = ["Return the first list.", "Return the last word, whatever it is.", "Sort."]


def test_importing_and_loading_a_config_loads_no_jax(repository):
    code = f"""
import sys, t2c_jax
assert t2c_jax.load_config({str(repository / "configs/quickstart.py")!r}, ["train.steps=700"]).train.steps == 700
t2c_jax.open_run
print(sorted({{"jax", "flax", "tensorflow", "orbax"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    assert set(t2c_jax.__all__) <= set(dir(t2c_jax))
    for name in t2c_jax.__all__:
        assert getattr(t2c_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'opn_run'"):
        t2c_jax.opn_run  # noqa: B018


def test_answers_are_the_commands(trained, capsys):  # noqa: F811
    assert main("generate", "--workdir", trained, "--json", *PROMPTS) == 0
    expected = json.loads(capsys.readouterr().out)
    run = t2c_jax.open_run(trained)
    answers = run.generate(PROMPTS)
    assert [answer.best for answer in answers] == [row["code"] for row in expected]
    assert [answer.score for answer in answers] == [row["score"] for row in expected]
    assert run.step in (3, 6, 9, 12)
    assert t2c_jax.open_run(trained, step=9).step == 9


def test_settings_are_of_one_call(trained):  # noqa: F811
    run = t2c_jax.open_run(trained)
    before = run.generate(PROMPTS)
    greedy = run.generate(PROMPTS, beam_size=1, max_tokens=3)
    assert all(len(answer.candidates) == 1 and not answer.finished for answer in greedy)
    assert greedy == t2c_jax.open_run(trained, overrides=["decode.beam_size=1", "decode.max_tokens=3"]).generate(
        PROMPTS
    )
    assert run.generate(PROMPTS) == before
    drawn = run.generate(PROMPTS, samples=3, temperature=0.9)
    assert [len(answer.hypotheses) for answer in drawn] == [3] * len(PROMPTS)
    assert drawn == run.generate(PROMPTS, samples=3, temperature=0.9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_sise": 2}, "unknown setting 'beam_sise'; did you mean 'beam_size'?"),
        ({"beam_size": "two"}, "beam_size='two' must be of type int"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_wrong_settings_are_refused(trained, settings, message):  # noqa: F811
    with pytest.raises(t2c_jax.UserError) as refused:
        t2c_jax.open_run(trained).generate(PROMPTS, **settings)
    assert message in str(refused.value)


def test_a_likelihood_is_the_forward_pass_one(trained):  # noqa: F811
    """Against the logits of all positions at once, under teacher forcing; answers of unlike lengths in one batch."""
    run = t2c_jax.open_run(trained)
    pairs = [(prompt, "def f(values):\n    return values[0]\n" * count) for count, prompt in enumerate(PROMPTS)]
    found = run.score(pairs)
    generator = run.generator
    tokenizers = Tokenizers.load(Workdir(trained).tokenizer)
    (member,) = generator.members
    for (prompt, answer), likelihood in zip(pairs, found, strict=True):
        target_T = TargetTemplate.of(tokenizers)(tokenizers.target.encode_batch([answer])[0])
        length = len(target_T)
        batch = generator.prompts.batch(generator.prompts.encode([prompt]), 1)
        batch["decoder_input_tokens"] = np.concatenate([[tokenizers.target.start], target_T[:-1]])[None]
        batch["decoder_segment_ids"] = np.ones((1, length), np.int32)
        batch["decoder_positions"] = np.arange(length, dtype=np.int32)[None]

        def log_p(params, batch=batch):
            model = member.definition.bind(params)
            return jax.nn.log_softmax(model.logits(model.predict(batch).states_BTD), axis=-1)

        log_p_TV = np.asarray(jax.jit(log_p)(jax.device_get(generator.params[0])))[0]
        expected = float(log_p_TV[np.arange(length), target_T].sum())
        assert likelihood.tokens == length
        # Float32, summed in another order: one part in 10,000 of a sum of some hundred nats.
        assert math.isclose(likelihood.log_probability, expected, rel_tol=1e-4)


def test_the_likelihood_of_an_answer_is_its_score(trained):  # noqa: F811
    run = t2c_jax.open_run(trained, overrides=["decode.length_penalty=0.0"])
    answers = run.generate(PROMPTS, max_tokens=48)
    tokenizer = run.generator.tokenizer
    ended = [(prompt, answer) for prompt, answer in zip(PROMPTS, answers, strict=True) if answer.finished]
    scores = run.score([(prompt, answer.best) for prompt, answer in ended])
    for (_, answer), likelihood in zip(ended, scores, strict=True):
        assert tokenizer.decode(tokenizer.encode_batch([answer.best])[0].tolist()) == answer.best
        assert likelihood.log_probability >= answer.score - 1e-3  # the shortest spelling is at least as likely


def test_scores_on_ones_own_pairs(trained):  # noqa: F811
    run = t2c_jax.open_run(trained)
    answers = [answer.best for answer in run.generate(PROMPTS)]
    right = run.evaluate(list(zip(PROMPTS, answers, strict=True)), metrics=["exact_match", "chrf"])
    assert right.metrics == {"exact_match": 100.0, "chrf": 100.0}
    assert [answer.best for answer in right.answers] == answers
    wrong = run.evaluate([(prompt, "x = 1") for prompt in PROMPTS], metrics=["exact_match"])
    assert wrong.metrics == {"exact_match": 0.0}
    half = run.evaluate([(PROMPTS[0], answers[0]), (PROMPTS[1], "x = 1")], metrics=["exact_match"], max_tokens=16)
    assert half.metrics == {"exact_match": 50.0}
    assert set(run.evaluate([(PROMPTS[0], "x = 1")]).metrics) == set(run.config.evaluate.metrics)
    with pytest.raises(t2c_jax.UserError, match="there are no pairs to evaluate on"):
        run.evaluate([])


def test_mistakes_of_opening(trained, tmp_path):  # noqa: F811
    with pytest.raises(t2c_jax.UserError, match="holds no run"):
        t2c_jax.open_run(tmp_path / "none")
    with pytest.raises(t2c_jax.UserError, match="has no checkpoint 5; it has "):
        t2c_jax.open_run(trained, step=5).generate(PROMPTS)
    with pytest.raises(t2c_jax.UserError, match="has no embedding head"):
        t2c_jax.open_run(trained).embed(PROMPTS)
    with pytest.raises(t2c_jax.UserError, match="open the run without others"):
        t2c_jax.open_run(trained, others=["@9"]).embed(PROMPTS)


def test_a_run_is_trained_and_resumed_from_python(tmp_path):
    config = t2c_jax.load_config(str(write_config(tmp_path)), ["train.steps=4", "train.eval_every=2"])
    result = t2c_jax.train_run(config, tmp_path / "run")
    assert result.steps == 4
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == to_dict(config)
    assert t2c_jax.open_run(tmp_path / "run").generate(["Sort."])
    longer = t2c_jax.default_config()
    longer.update(to_dict(config))
    longer.train.steps = 6
    assert t2c_jax.train_run(longer, tmp_path / "run").steps == 6
    with Workdir(tmp_path / "run").locked(), pytest.raises(t2c_jax.UserError, match="is in use by another run"):
        t2c_jax.train_run(config, tmp_path / "run")


class Count(t2c_jax.Hook):
    """Counts its calls over all processes of a run, and writes down all that it sees."""

    every, name = 3, "count"

    def __init__(self):
        self.calls, self.seen = 0, []

    def start(self, run, stored):
        self.calls = stored.get("calls", 0)
        self.seen.append(("start", run.step))

    def on_metrics(self, run, step, metrics):
        assert metrics["weight"] > 0
        self.seen.append(("metrics", step))

    def __call__(self, run):
        self.calls += 1
        run.log("count", {"calls": float(self.calls)})
        assert "embedding" in run.params
        self.seen.append(("call", run.step))

    def stored(self):
        return {"calls": self.calls}

    def finish(self, run):
        self.seen.append(("finish", run.step))

    def close(self):
        self.seen.append(("close", None))


def test_hooks_are_called_in_turn_and_resume(tmp_path):
    """Metrics arrive a step late, but before a hook that is due; a resumed run continues the hook's state."""
    options = ["train.steps=4", "train.eval_every=0", "train.save_every=100", "train.log_every=100"]
    config = t2c_jax.load_config(str(write_config(tmp_path)), options)
    count, steps = Count(), []
    function = t2c_jax.hook(lambda run: steps.append((run.step, run.save_requested)), every=2)
    t2c_jax.train_run(config, tmp_path / "run", [count, function])
    metrics = [("metrics", step) for step in (1, 2, 3, 4)]
    assert count.seen == [
        ("start", 0),
        *metrics[:3],
        ("call", 3),
        metrics[3],
        ("call", 4),
        ("finish", 4),
        ("close", None),
    ]
    assert steps == [(2, False), (4, False)]
    longer = t2c_jax.load_config(str(tmp_path / "config.py"), [*options, "train.steps=6"])
    again = Count()
    t2c_jax.train_run(longer, tmp_path / "run", [again])
    assert again.seen[0] == ("start", 4)
    assert again.calls == 3
    assert [line["calls"] for line in records(tmp_path / "run") if line["kind"] == "count"] == [1.0, 2.0, 3.0]


def test_a_hook_saves_and_stops(tmp_path):
    """A checkpoint between two saves, then the end before the last step; the run is not out of patience."""
    options = ["train.steps=9", "train.eval_every=0", "train.save_every=100", "train.log_every=100", "train.keep=9"]
    config = t2c_jax.load_config(str(write_config(tmp_path)), options)

    def act(run):
        if run.step == 2:
            run.request_save()
        if run.step == 4:
            run.request_stop()

    result = t2c_jax.train_run(config, tmp_path / "run", [t2c_jax.hook(act, every=1)])
    assert (result.steps, result.stopped_by, result.out_of_patience) == (4, None, False)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()) == [
        "2",
        "4",
    ]


def test_the_notebook_of_the_docs_runs_with_its_outputs(repository, tmp_path):
    """In a fresh kernel; its outputs are compared by kind, since figures differ between machines."""
    source, target = repository / "docs" / "library.ipynb", tmp_path / "executed.ipynb"
    command = [sys.executable, str(repository / "tests" / "execute_notebook.py"), str(source), str(target)]
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    committed, executed = (json.loads(path.read_text())["cells"] for path in (source, target))
    assert [_kind(cell) for cell in executed] == [_kind(cell) for cell in committed]
    assert any(_kind(cell) for cell in committed)


def _kind(cell):
    """The types of a cell's outputs, with every number and answer replaced."""
    kinds = []
    for output in cell.get("outputs", []):
        text = "".join(output.get("text") or output["data"]["text/plain"])
        value = ast.literal_eval(text) if output["output_type"] == "execute_result" else text.splitlines()[-1:]
        kinds.append((output["output_type"], jax.tree.map(type, value)))
    return kinds
