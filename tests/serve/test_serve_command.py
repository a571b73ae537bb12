"""``t2c serve`` as a process: it gets ready, answers as ``t2c generate`` does, and ends in peace."""

import json
import shutil
import urllib.request

import openai
import pytest
from served import until
from small_run import command, environment, main, processes
from tiny_generators import extract_kept_runs

PROMPT = "Return item 3 of the values."
FEW_PROGRAMS = ("--config.decode.batch_size=1", "--config.decode.beam_size=1")  # each model compiles its own


def is_ready(url):
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def kept(tmp_path, monkeypatch):
    extract_kept_runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_several_runs_are_served_until_sigterm(kept, capsys, request):
    models = ("--model", "first=copying", "--model", "second=copying@8")
    arguments = ("serve", *models, "--port", "0", "--rows", "1", "--json", *FEW_PROGRAMS)
    process = processes().popen(command(*arguments), env=environment(), cwd=kept)
    request.addfinalizer(process.kill)
    url = json.loads(process.stdout.readline())["url"]
    until(lambda: is_ready(url), 300)  # without kept programs, beside other tests
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["first", "second"]
        assert main("generate", "--workdir", "copying", "--json", *FEW_PROGRAMS, PROMPT) == 0
        (expected,) = json.loads(capsys.readouterr().out)
        for model in ("first", "second"):
            answer = client.completions.create(model=model, prompt=PROMPT)
            assert answer.choices[0].text == expected["code"]
            assert answer.choices[0].log_probability == pytest.approx(expected["log_probability"], abs=1e-3)
        shutil.rmtree(kept / "copying")  # what it needs is in memory
        assert client.completions.create(model="first", prompt=PROMPT).choices[0].text == expected["code"]
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"at {url}" in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert {line["model"] for line in lines if line.get("message") == "ready"} == {"first", "second"}
    assert PROMPT not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs --workdir"),
        (["--workdir", "none"], "holds no run"),
        (["--model", "none"], "NAME=DIR"),
        (["--model", "a=copying", "--model", "a=lora"], "two models"),
        (["--workdir", "copying@99"], "no checkpoint 99"),
        (["--workdir", "copying@8", "--follow"], "without @N"),
        (["--workdir", "copying", "--port", "70000"], "--port"),
        (["--workdir", "copying", "--queue", "0"], "--queue"),
        (["--workdir", "copying", "--rows", "0"], "--rows"),
        (["--workdir", "copying", "--api-keys", "none"], "--api-keys"),
        (["--workdir", "copying", "--config.decode.beem_size=1"], "beam_size"),
    ],
)
def test_mistakes_are_one_line(arguments, message, kept, capsys):
    assert main("serve", "--port", "0", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
