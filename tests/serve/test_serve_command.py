"""``t2c serve`` as a process: it gets ready, answers as ``t2c generate`` does, and ends in peace."""

import collections
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import shutil
import socket
import threading
import time
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


def answer_of(port, prompt, *, streams):
    """As docs/serving.md says that a client knows it to be whole.

    Raises:
      OSError, http.client.HTTPException, EOFError: it is not, or there is none.
    """
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        body = json.dumps({"prompt": prompt, "stream": streams})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    if response.status != 200:
        raise http.client.HTTPException(response.status)
    if not streams:
        return json.loads(content)["choices"][0]["text"]
    events = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: ")]
    if events[-1:] != [b"[DONE]"]:
        raise EOFError
    return "".join(choice["text"] for event in events[:-1] for choice in json.loads(event)["choices"])


def test_no_client_of_a_server_that_is_killed_gets_a_wrong_answer(kept, request):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcomes, ends = collections.Counter(), threading.Event()

    def started():
        arguments = ("serve", "--workdir", "copying", "--port", str(port), "--rows", "1", "--json", *FEW_PROGRAMS)
        process = processes().popen(command(*arguments), env=environment(), cwd=kept)
        request.addfinalizer(process.kill)
        url = json.loads(process.stdout.readline())["url"]
        until(lambda: is_ready(url), 300)
        return process

    process = started()
    prompts = [PROMPT.replace("3", str(number)) for number in range(4)]
    expected = {prompt: answer_of(port, prompt, streams=False) for prompt in prompts}
    assert len(set(expected.values())) > 1

    def client():
        for number in itertools.count():
            prompt = prompts[number % len(prompts)]
            if ends.is_set():
                return
            try:
                is_right = answer_of(port, prompt, streams=number % 2 == 1) == expected[prompt]
                outcomes["right" if is_right else "wrong"] += 1
            except (OSError, http.client.HTTPException, EOFError):
                outcomes["error"] += 1
                time.sleep(0.02)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        try:
            clients = [pool.submit(client) for _ in range(4)]
            until(lambda: outcomes["right"] > 8)
            process.kill()
            process.communicate()
            process = started()
            count = outcomes["right"]
            until(lambda: outcomes["right"] > count + 8)
        finally:
            ends.set()
        for each in clients:
            each.result(60)
    process.kill()
    process.communicate()
    assert outcomes["error"] > 4
    assert not outcomes["wrong"]


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
