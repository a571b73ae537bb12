"""The command line: mistakes of the user, and what goes to stdout and to stderr."""

import fcntl
import io
import json
import re

import pytest
from small_run import command, environment, main, prepared, processes, t2c, trained, write_config  # noqa: F401

from t2c_jax import cli
from t2c_jax.commands import COMMANDS

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path)


def refused(capsys, *arguments):
    """The error message of a command: one line, exit status 2, nothing on stdout, no traceback."""
    capsys.readouterr()
    assert main(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    assert line.startswith("t2c: ")
    return line.removeprefix("t2c: ")


def test_help_lists_all_commands(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert not stopped.value.code
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.split()[:1] == [name] for line in lines) for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "--workdir", "w"], "unknown command 'trian'; did you mean 'train'?; t2c --help lists them"),
        (["train", "--workdir", "w", "--config.train.steps"], "--config.train.steps has no value; write"),
        (["train", "--workdir", "nowhere://bucket/run"], "gs:// and s3:// are known"),
        (["train", "--workdir", "w", "--config", "no.py"], "config file 'no.py' does not exist; see configs/"),
        (
            ["generate", "--workdir", "w", "--input", "gs://b/x.txt"],
            "--input 'gs://b/x.txt' must be a path of this machine",
        ),
        (
            ["embed", "--workdir", "w", "--output", "gs://b/x.npy", "x"],
            "--output 'gs://b/x.npy' must be a path of this machine",
        ),
        (
            ["export", "--workdir", "w", "--to=ctranslate2", "--output=s3://b/m"],
            "--output 's3://b/m' must be a path of this",
        ),
        (
            ["import", "--workdir", "w", "--from", "gs://b/m"],
            "--from 'gs://b/m' must be a path of this machine; URLs",
        ),
        (["train", "--workdir", "w"], "'w' holds no run yet; add --config FILE"),
    ],
)
def test_mistakes_before_any_work(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_workdir_is_reported_by_argparse(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train"])
    assert stopped.value.code == 2
    assert "--workdir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.train.stesp=3", "unknown key 'stesp' in config.train; did you mean 'steps'?"),
        ("--config.trian.steps=3", "unknown key 'trian' in config; did you mean 'train'?"),
        ("--config.train.steps=three", "config.train.steps='three' must be of type int"),
        ("--config.data.batch_size=12", "config.data.batch_size=12 is not divisible by"),
        ("--config.mesh.tensor=8", "is not divisible by config.mesh.tensor=8"),
        ("--config.mesh.data=3", "config.mesh data=3 x fsdp=1 x tensor=1 does not fit 8 device(s)"),
        ("--config.corpus.sources=/nowhere/at/all", "/nowhere/at/all"),
    ],
)
def test_mistakes_in_a_config(override, message, config, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert message in refused(capsys, "run", "--config", config, "--workdir", workdir, override)
    assert not (workdir / "corpus").exists()
    assert not (workdir / "checkpoints").exists()


def test_an_override_and_its_value_may_be_two_arguments(config, tmp_path, capsys):
    assert main("mine", "--config", config, "--workdir", tmp_path / "run", "--config.seed", "5", "--json") == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 5


@pytest.mark.parametrize("lines", ["", '{"text": "", "code": ""}\n'])
def test_an_empty_corpus(lines, config, tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text(lines)
    said = refused(
        capsys,
        "run",
        "--config",
        config,
        "--workdir",
        tmp_path / "run",
        f"--config.corpus.sources={tmp_path / 'empty.jsonl'}",
    )
    assert "no pair" in said or "empty" in said or "malformed" in said
    assert not (tmp_path / "run" / "tokenizer").exists()


def test_too_many_malformed_lines_fail_with_file_and_line(config, tmp_path, capsys):
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write('{"text": "cut in the mid\n' * 5)
    said = refused(capsys, "mine", "--config", config, "--workdir", tmp_path / "run")
    assert "corpus.jsonl" in said
    assert "121" in said
    assert "config.corpus.max_malformed_share" in said or "malformed" in said
    assert not (tmp_path / "run" / "corpus").exists()


@pytest.mark.parametrize("command", ["tokenizer", "prepare", "train", "evaluate"])
def test_a_stage_without_its_input_is_refused(command, config, tmp_path, capsys):
    said = refused(capsys, command, "--config", config, "--workdir", tmp_path / "run")
    assert "run" in said


def test_a_workdir_in_use_is_refused_and_not_changed(config, tmp_path, capsys):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with (workdir / ".lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = refused(capsys, "run", "--config", config, "--workdir", workdir)
    assert "is in use by another run (process 4711); wait for it, stop it, or choose another --workdir" in said
    assert [path.name for path in workdir.iterdir()] == [".lock"]


def test_missing_checkpoints_are_refused(prepared, trained, capsys):  # noqa: F811
    _, workdir = prepared
    assert "has no checkpoint; run t2c train first" in refused(capsys, "generate", "--workdir", workdir, "x")
    assert "has no checkpoint; run t2c train first" in refused(capsys, "evaluate", "--workdir", workdir)
    said = refused(capsys, "generate", "--workdir", trained, "--step", "5", "x")
    assert "has no checkpoint 5; it has " in said


def test_a_refused_command_leaves_a_trained_run_unchanged(trained, capsys):  # noqa: F811
    config, model = (trained / "config.json").read_bytes(), (trained / "tokenizer/spm.model").read_bytes()
    for name, override, message in (
        ("train", "--config.model.width=32", "config.model.width is 32 here and 16 in the checkpoint"),
        ("mine", "--config.corpus.max_code_chars=100", "which would change (config.max_code_chars)"),
        ("tokenizer", "--config.tokenizer.vocab_size=512", "which would change (config.tokenizer.vocab_size)"),
    ):
        assert main(name, "--workdir", trained, override) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert (trained / "config.json").read_bytes() == config
    assert (trained / "tokenizer/spm.model").read_bytes() == model
    assert main("generate", "--workdir", trained, "Return the first list.") == 0


def test_a_damaged_stored_config_is_replaced_and_the_new_one_is_checked(config, trained, capsys):  # noqa: F811
    (trained / "config.json").write_text("{")
    said = refused(capsys, "train", "--config", config, "--workdir", trained, "--config.model.width=32")
    assert "config.model.width is 32 here and 16 in the checkpoint" in said


def test_json_is_one_document_on_stdout(prepared, capsys):  # noqa: F811
    _, workdir = prepared
    for name in ("mine", "tokenizer", "prepare"):
        capsys.readouterr()
        assert main(name, "--workdir", workdir, "--json") == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)
    assert main("prepare", "--workdir", workdir) == 0
    out, err = capsys.readouterr()
    assert not out
    assert err


def standard_input(content=""):
    return io.TextIOWrapper(io.BytesIO(content.encode()))


def answers(capsys, *arguments, stdin=None):
    """What ``generate`` writes to standard output."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", standard_input(stdin or ""))
        assert main("generate", *arguments) == 0
    return capsys.readouterr().out


def test_generate_reads_prompts_from_arguments_files_and_standard_input(trained, tmp_path, capsys):  # noqa: F811
    """The same prompts get the same answers from each of them."""
    prompts = ["Return the first list.", "Return the last word, whatever it is."]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n\n")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in prompts))
    batch = answers(capsys, "--workdir", trained, *prompts)
    lines = [json.loads(line) for line in batch.splitlines()]
    assert [line["text"] for line in lines] == prompts
    expected = {"text", "code", "score", "log_probability", "finished", "provenance"}
    assert all(set(line) == expected for line in lines)
    assert all(sum(line["provenance"].values()) == pytest.approx(1) or not line["code"].strip() for line in lines)
    assert batch == answers(capsys, "--workdir", trained, "--input", tmp_path / "prompts.txt")
    assert batch == answers(capsys, "--workdir", trained, "--input", tmp_path / "prompts.jsonl")
    assert batch == answers(capsys, "--workdir", trained, "--input", "-", stdin="\n".join(prompts))
    assert batch == answers(capsys, "--workdir", trained, stdin="\n".join(prompts))
    document = json.loads(answers(capsys, "--workdir", trained, "--json", *prompts))
    for line, row in zip(lines, document, strict=True):
        hypotheses = row.pop("hypotheses")
        assert row == line
        assert len(hypotheses) == 2, "the beam's"
        assert {"text": line["text"], "provenance": line["provenance"], **hypotheses[0]} == line
    one = answers(capsys, "--workdir", trained, prompts[0])
    assert one == lines[0]["code"] + "\n"
    assert "\x1b" not in one


def test_samples_are_the_same_twice_and_all_printed(trained, capsys):  # noqa: F811
    """The run's own config has a beam, which a temperature replaces."""
    command = ("--workdir", trained, "--samples", "3", "--temperature", "0.8", "Return the first list.", "Sort.")
    found = answers(capsys, *command, "--json")
    assert found == answers(capsys, *command, "--json")
    assert found != answers(capsys, *command, "--json", "--config.decode.seed=1")
    for row in json.loads(found):
        samples = row["hypotheses"]
        assert len({sample["code"] for sample in samples}) > 1
        assert len(samples) == 3
        ranks = [(sample["finished"], sample["score"]) for sample in samples]
        assert ranks == sorted(ranks, reverse=True)
        assert all(set(sample) == {"code", "score", "log_probability", "finished"} for sample in samples)
        assert all(sample["log_probability"] < 0 for sample in samples)
    lines = answers(capsys, *command)
    assert [json.loads(line) for line in lines.splitlines()] == json.loads(found)


def test_samples_on_a_terminal_fit_it(trained, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    found = answers(capsys, "--workdir", trained, "--samples", "2", "--temperature", "0.8", "Sort.")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", found).splitlines()
    assert [line[:6] for line in lines if "log-probability" in line] == ["1 of 2", "2 of 2"]
    assert max(map(len, lines)) <= 80


def test_mistakes_in_the_prompts_of_generate(trained, tmp_path, capsys, monkeypatch):  # noqa: F811
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"prompt": "no text"}\n')
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "open.lark").write_text('start: a\na: "x" ( "y"\n')
    where = ("generate", "--workdir", trained)
    assert "bad.jsonl:2: not a JSON object with a 'text'" in refused(capsys, *where, "--input", tmp_path / "bad.jsonl")
    assert "no prompts in" in refused(capsys, *where, "--input", tmp_path / "empty.txt")
    assert "does not exist" in refused(capsys, *where, "--input", tmp_path / "none.txt")
    assert "not both" in refused(capsys, *where, "--input", tmp_path / "empty.txt", "x")
    assert "not UTF-8" in refused(capsys, *where, "\udcff")
    for settings, message in (
        (["--temperature", "-1"], "config.decode.temperature must be at least 0"),
        (["--samples", "3"], "config.decode.samples=3 would all be the same; set config.decode.temperature above 0"),
        (["--samples", "0", "--temperature", "1"], "config.decode.samples must be at least 1"),
        (["--temperature", "1", "--config.decode.beam_size=2"], "config.decode.beam_size=2 is of beam search; set"),
        (["--stop", ""], "config.decode.stop holds an empty text"),
        (["--config.decode.grammar=x.lark"], "config.decode.grammar: 'x.lark' does not exist"),
        (["--config.decode.grammar=regex:(a"], "config.decode.grammar='regex:(a': column 1: unclosed group"),
        ([f"--config.decode.grammar={tmp_path / 'open.lark'}"], "open.lark:2:13: Expected token ')', found"),
        (["--config.decode.grammar=regex:a{999}"], "no answer ends within config.decode.max_tokens=16, for each"),
        (["--config.decode.top_k=5"], "config.decode.top_k is of sampling; set config.decode.temperature above 0"),
    ):
        assert message in refused(capsys, *where, *settings, "x")
    monkeypatch.setattr("sys.stdin", standard_input())
    assert "no prompts in standard input" in refused(capsys, *where)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert "no prompt; write t2c generate" in refused(capsys, *where)
    monkeypatch.setattr("sys.stdin", None)
    assert "no prompt; write t2c generate" in refused(capsys, *where)


def test_an_output_that_cannot_be_written_is_refused_first(trained, tmp_path, capsys, monkeypatch):  # noqa: F811
    where = ("embed", "--workdir", trained, "x", "--output")
    for output in (tmp_path, tmp_path / "no" / "v.npy", trained / "config.json" / "v.npy"):
        assert "name a file in a directory that exists" in refused(capsys, *where, output)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "v.npy' cannot be written; choose another" in refused(capsys, *where, tmp_path / "v.npy")


def test_a_prompt_that_is_cut_gives_a_warning(trained, capsys):  # noqa: F811
    capsys.readouterr()
    assert main("generate", "--workdir", trained, "word " * 200) == 0
    assert "1 prompt(s) are longer than config.data.encoder_length=48 tokens and were cut" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(trained):  # noqa: F811
    """``t2c generate … | head -0``: no traceback, and the status a shell knows."""
    arguments = command("generate", "--workdir", trained, "--config.mesh.data=1", "one", "two")
    process = processes().popen(arguments, env=environment())
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=200) in (0, 141)
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
