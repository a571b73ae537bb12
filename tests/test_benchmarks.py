"""Every benchmark, run as a person runs it, at a toy shape: what it measures means nothing, that it measures is all."""

import json
import sys

import pytest
from humaneval_problems import PROBLEMS
from small_run import environment, prepared, processes, trained  # noqa: F401

from t2c_jax import runtime
from t2c_jax.config import ExecutionConfig
from t2c_jax.errors import UserError
from t2c_jax.evaluate.execution.executor import Executor

# The peer's second turn, in t2c's own environment, is taken once; elsewhere the user has that environment already.
COMMANDS = {
    "train_step.py": ("torch", "transformers"),
    "recurrent.py": ("torch",),
    "decode.py": ("torch", "transformers", "ctranslate2"),
    "lora.py": (),
    "objectives.py": (),
    "pipeline.py": (),
    "import_model.py": (),
    "checkpoint.py": (),
    "scaling.py": (),
    "compile.py": (),
}


def run(repository, script, *options):
    """A benchmark as a process of its own, with the tests' compiled programs, except where it measures compiling."""
    variables = environment()
    if script == "compile.py":
        variables["JAX_COMPILATION_CACHE_DIR"] = ""
    if script != "train_step.py":
        variables |= runtime.environment()
    program = {"script": str(repository / "benchmarks" / script), "argv": list(options)}
    program["forks"] = script != "import_model.py"  # which measures the memory of what it starts
    return processes().run(program, env=variables)


@pytest.mark.parametrize("command", COMMANDS)
def test_benchmark(command, repository):
    for peer in COMMANDS[command]:  # the extra "bench"
        pytest.importorskip(peer)
    done = run(repository, command, "--tiny", "--rounds=1", "--steps=1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["machine"]["versions"]["jax"]
    if command == "import_model.py":
        assert result["parameters"] > 0
        assert result["seconds"] > 0
        assert result["peak_bytes"] > result["peak_bytes_beyond_libraries"] > 0
        return
    if command == "checkpoint.py":
        assert 0 < result["stop_seconds"] < result["save_seconds"]
        assert min(result["restore_seconds"], result["step_seconds_while_saving"]) > 0
        assert result["written_bytes"] > 0.5 * result["state_bytes"] > 0
        return
    if command == "compile.py":
        assert all(row["together_seconds"] > 0 and row["ratio"] > 0 for row in result["depths"].values())
        assert result["kept_bytes"] > 0
        assert result["second_start_seconds"] > 0
        return
    tables = [result["sides"]] if "sides" in result else [result["beam"], result["greedy"]]
    for sides in tables:
        assert len(sides) >= 2
        assert all(side["per_second"] > 0 and side["best_seconds_per_step"] > 0 for side in sides.values())
        assert all(side["ratio"] > 0 for side in list(sides.values())[1:])


def test_optimizers(repository):
    """Each run is measured at equal steps and equal time; the first one's time is the measure."""
    done = run(repository, "optimizers.py", "--tiny", "--rounds=2", "--steps=4", "--json", "--run=sgd", "--run=adamw")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["runs"]
    assert first["losses"] == first["losses_at_equal_time"]
    assert [step for step, _, _ in second["curves"][0]] == [2, 4]
    assert first["loss"] != second["loss"]
    assert min(first["cpu_seconds_per_step"], second["cpu_seconds_per_step"]) > 0


def test_t5gemma(repository):
    pytest.importorskip("transformers")
    options = ("--tiny", "--rounds=1", "--steps=1", "--json", "--tasks", "pairs", "greedy")
    done = run(repository, "t5gemma.py", *options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert max(result["logits"].values()) < 1e-4  # the benchmark itself refuses other models only
    assert [side["per_second"] > 0 for task in result["tasks"].values() for side in task.values()] == [True] * 4


def test_mine(repository):
    options = ("--rounds=1", "--json", "--grow", "60")
    done = run(repository, "mine.py", *options)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["grown"].values()
    assert (row["found"], row["kept"]) == (60, 60)
    assert row["seconds"] > 0
    assert row["peak_bytes"] > 10_000_000


def test_folds(repository, tmp_path):
    """Every pair is held out once, and scored with the others."""
    pairs = [
        {"text": f"list job in area{n % 10}", "code": f"job ( ANS ) , area ( ANS , area{n % 10} )"} for n in range(24)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)) + "\n")
    done = run(
        repository,
        "folds.py",
        str(tmp_path / "pairs.jsonl"),
        *(f"--config={repository / 'configs' / 'semantic_parsing.py'}:jobs", f"--workdir={tmp_path / 'folds'}"),
        *(
            "--folds=2",
            "--json",
            "--config.train.steps=2",
            "--config.train.eval_every=2",
            "--config.train.save_every=2",
        ),
        *("--config.tokenizer.vocab_size=330", "--config.model.width=16", "--config.decode.max_tokens=4"),
        *("--config.model.encoder.width=16", "--config.model.decoder.width=16"),
    )
    assert done.returncode == 0, done.stderr
    assert "seed 0, 24 pairs: Logic match" in done.stderr
    (scores,) = json.loads(done.stdout).values()
    assert scores["logic_match"]["value"] == 0.0
    assert scores["bleu"]["standard_error"] >= 0.0
    held_out = [(tmp_path / "folds" / f"fold-{fold}" / "dev.jsonl").read_text().splitlines() for fold in (0, 1)]
    assert [json.loads(line) for pair in zip(*held_out, strict=True) for line in pair] == pairs


def test_grammar(repository, tmp_path):
    """It reads pairs, counts what the grammar rejects, by cause, and what it accepts wrongly."""
    names = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    codes = [f"def {a}({b}, {c}):\n    return {b} + {c}" for a in names for b in names for c in names]
    pairs = [{"text": code, "code": code} for code in [*codes, r"x = '\N{EM DASH}'"]]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    done = run(
        repository,
        "grammar.py",
        f"--source={tmp_path / 'pairs.jsonl'}",
        *("--vocabulary=450", "--damaged=50", "--timed=2"),
    )
    assert done.returncode == 0, done.stderr
    assert "216 of 217 accepted" in done.stderr
    assert r"1 for \N{NAME}" in done.stderr
    assert "0 of them do not parse" in done.stderr
    assert "second round" in done.stderr


def test_definitions(repository, tmp_path):
    """Two documented functions are whole, one is broken."""
    functions = ("// One is whole.\nfunc One() int { return 1 }", "// Two.\nfunc Two() int { return 1 + }")
    functions += ("func Bare() int { return 1 }", "/* Three. */\nfunc Three() int { return 3 }")
    (tmp_path / "a.go").write_text("package a\n\n" + "\n\n".join(functions) + "\n")
    done = run(repository, "definitions.py", "--rounds=1", f"go:{tmp_path}")
    assert done.returncode == 0, done.stderr
    titles, row = (line.split(" | ") for line in done.stdout.splitlines())
    found = dict(zip(titles, row, strict=True))
    assert [found[title] for title in ("documented", "pairs", "with errors", "of these pairs")] == ["2", "2", "1", "0"]


def test_near_duplicates(repository, tmp_path):
    """It finds all pairs that brute force finds."""
    pytest.importorskip("datasketch")  # of the extra "bench"
    names = ("alpha", "beta", "gamma", "delta", "epsilon")
    body = "".join(f"    x{number} = {number}\n" for number in range(30))
    (tmp_path / "a.py").write_text("".join(f"def {name}():\n{body}\n" for name in names))
    done = run(repository, "near_duplicates.py", "--rounds=1", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    everything = result["recall"][-1]
    assert (result["functions"], everything["pairs"], everything["t2c_jax, all pairs"]) == (5, 10, 1)
    assert everything["t2c_jax, all pairs: below the threshold"] == 0
    assert {*result["times_as_fast"]} == {*result["seconds"]}


def test_planted_secrets(repository, tmp_path):
    """Nearly all that is planted is found, and nothing in plain functions."""
    (tmp_path / "a.py").write_text("def f(x):\n    return x + 1\n")
    done = run(repository, "planted_secrets.py", "--planted=40", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kinds"] >= 25
    assert result["recall"] >= 0.98, result["missed"]
    assert min(result["recall_by_kind"].values()) >= 0.8, result["missed"]
    assert (result["functions"], result["secrets"]["found"], result["personal_data"]["found"]) == (1, [], [])


def test_mutants(repository, tmp_path):
    """Of these problems the tests let few mutants pass."""
    try:
        Executor(ExecutionConfig()).require()
    except UserError as reason:
        pytest.skip(str(reason))
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    done = run(
        repository,
        "mutants.py",
        f"--problems={path}",
        f"--survivors={tmp_path / 'survivors.jsonl'}",
        "--cpu-seconds=0.3",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["solutions_passed"] == result["problems_with_a_failed_mutant"] == result["problems"] == 3
    assert result["left_out"] == {}
    survivors = [json.loads(line) for line in (tmp_path / "survivors.jsonl").read_text().splitlines()]
    assert len(survivors) == result["mutants"] - result["mutants_failed"] < 0.3 * result["mutants"]
    assert result["mutants"] > 20


def test_answers(repository, trained):  # noqa: F811
    """The other commit is this one, so its answers are equal."""
    pytest.importorskip("ctranslate2", reason="ctranslate2 (extra bench) is not installed")
    here = {"--baseline-python": sys.executable, "--baseline-directory": repository, "--baseline-workdir": trained}
    other = [f"{name}={value}" for name, value in here.items()]
    shape = ["--split=dev", "--prompts=3", "--beams=2", "--rounds=1", "--also", "greedy", "max_tokens=1"]
    done = run(repository, "answers.py", f"--workdir={trained}", *other, *shape, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for table in ("greedy", "beam 2", "beam 2, patience 1"):
        sides = result[table]
        assert all(side["answers"] == 3 and side["per_second"] > 0 for side in sides.values())
        assert sides[f"CTranslate2, {table}"]["tokens"] > 0
        assert all(side["ratio"] > 0 for side in list(sides.values())[1:])
    assert result["greedy"]["baseline, greedy"]["equal"] == 3
    shortened = result["greedy"]["t2c_jax, greedy: max_tokens=1"]
    assert shortened["tokens"] < result["greedy"]["t2c_jax, greedy"]["tokens"]
    exact = result["beam 2"]["t2c_jax, beam 2: patience=0.0"]
    assert exact["tokens"] == result["beam 2"]["baseline, beam 2"]["tokens"]


def test_serve(repository, trained, tmp_path):  # noqa: F811
    """Both servers answer all requests of all loads."""
    pytest.importorskip("ctranslate2", reason="ctranslate2 (extra bench) is not installed")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({"text": f"add {n} to x"}) + "\n" for n in range(4)))
    shape = ["--clients=2", "--requests=3", "--rounds=1", "--beams=1", "--shares=0.5", "--rows=1"]
    done = run(repository, "serve.py", f"--workdir={trained}", f"--pairs={tmp_path / 'pairs.jsonl'}", *shape, "--json")
    assert done.returncode == 0, done.stderr
    greedy = json.loads(done.stdout)["greedy"]
    assert all(share < 1 for share in greedy.pop("overhead")["share"].values())
    assert greedy.pop("start")["ready"] > 0
    assert len(greedy) == 3
    for sides in greedy.values():
        assert len(sides) >= 2
        assert all(side["answers"] == 3 for side in sides.values())
        assert all(0 < side["first_p50"] <= side["whole_p99"] for side in sides.values())
        assert sides["t2c serve"]["ratio"] > 0


def test_retrieval(repository, prepared, tmp_path):  # noqa: F811
    """Each number of neighbours is a run of its own, scored beside the first one."""
    config, _ = prepared
    shape = ["--neighbours", "0", "1", "--tokens=60", "--", "train.steps=2", "evaluate.max_examples=3"]
    done = run(repository, "retrieval.py", f"--config={config}", f"--output={tmp_path}", *shape)
    assert done.returncode == 0, done.stderr
    without, one = map(json.loads, done.stdout.splitlines())
    assert [row["neighbours"] for row in (without, one)] == [0, 1]
    assert "from_first" not in without
    for name, difference in one["from_first"].items():
        values = [row["model"][name]["value"] for row in (without, one)]
        assert difference["value"] == (None if None in values else pytest.approx(values[1] - values[0], abs=1e-3))
    assert without["copied"] == one["copied"]
    rows = [json.loads((tmp_path / f"neighbours{k}" / "config.json").read_text())["data"] for k in (0, 1)]
    assert [data["encoder_length"] for data in rows] == [48, 108]
    assert not any(data["pack"] for data in rows)


def test_batch_rounding(repository, trained):  # noqa: F811
    """With one size twice nothing changes; each search is counted."""
    shape = ["--split=dev", "--prompts=5", "--sizes", "2", "2", "3"]
    done = run(repository, "batch_rounding.py", f"--workdir={trained}", *shape, "--json")
    assert done.returncode == 0, done.stderr
    searches = json.loads(done.stdout)["searches"]
    assert [*searches] == ["greedy", "beam 4", "sampling at 0.8"]
    for sizes in searches.values():
        assert sizes["2"] == {"answers": 5, "changed": 0, "scores_apart": 0.0}
        assert sizes["3"]["answers"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baseline-workdir=runs/x"], "--baseline-python, --baseline-directory and --baseline-workdir go together"),
        (
            ["--also", "beam 3", "max_tokens=1"],
            "--also 'beam 3': the tables are 'greedy', 'greedy, one prompt at a time', 'beam 4', 'beam 4, patience 1'",
        ),
    ],
)
def test_answers_options(options, message, repository):
    done = run(repository, "answers.py", *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_tpu_compile(repository):
    pytest.importorskip("libtpu", reason="libtpu (extra tpu) is not installed")
    done = run(repository, "tpu_compile.py", "--tiny", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["fits"]
    assert row["roofline"]["seconds"] > 0


def test_constrained(repository, trained):  # noqa: F811
    """Steps with and without a grammar, and whether answers parse."""
    done = run(repository, "constrained.py", f"--workdir={trained}", "--prompts=3", "--beams=1", "--rounds=1", "--json")
    assert done.returncode == 0, done.stderr
    free, followed = json.loads(done.stdout)["greedy"].values()
    assert free["answers"] == followed["answers"] == 3
    assert followed["parsed"] == followed["ended"]
    assert free["steps"] > 0
    assert followed["ratio"] > 0
