"""``t2c mcp``, as a client of the official SDK sees it over standard input and output."""

import json
import sys
from contextlib import asynccontextmanager

import anyio
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from served import KEY, serving
from small_run import environment, main
from tiny_generators import PAIRS, extract_kept_runs, tokenizer, tokenizers

from t2c_jax.data.infilling import InfillPrompts
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.serve.api_keys import ApiKeys
from t2c_jax.serve.server_settings import ServerSettings

PROMPT = "Return item 3 of the values."
FIRST, CODE = next(iter(PAIRS.items()))
FEW_PROGRAMS = ("--config.decode.batch_size=1", "--config.decode.beam_size=1")


@asynccontextmanager
async def connected(*arguments, cwd, log):
    """A session with a process of ``t2c mcp``; what it writes for people goes to ``log``."""
    run = "import sys; from t2c_jax import cli; sys.exit(cli.main())"
    process = StdioServerParameters(
        command=sys.executable, args=["-c", run, "mcp", *map(str, arguments)], env=environment(), cwd=cwd
    )
    async with Client(stdio_client(process, errlog=log)) as client:
        yield client


@pytest.fixture
def kept(tmp_path):
    extract_kept_runs(tmp_path)
    return tmp_path


def test_a_run_answers(kept, monkeypatch, capsys):
    monkeypatch.chdir(kept)
    assert main("generate", "--workdir", "retrieving", "--json", *FEW_PROGRAMS, PROMPT) == 0
    (expected,) = json.loads(capsys.readouterr().out)

    async def ask():
        with (kept / "log").open("w+") as log:
            async with connected("--workdir", "retrieving", *FEW_PROGRAMS, cwd=kept, log=log) as client:
                (tool,) = (await client.list_tools()).tools
                assert tool.name == "generate_code"
                assert tool.input_schema["required"] == ["prompt"]
                found = await client.call_tool("generate_code", {"prompt": PROMPT})
                long = await client.call_tool("generate_code", {"prompt": "Return " * 500})
                wrong = await client.call_tool("generate_code", {"prompt": PROMPT, "candidates": 99})
        return found, long, wrong

    found, long, wrong = anyio.run(ask)
    assert not found.is_error, found
    answers = found.structured_content
    assert answers["model"] == "retrieving"
    (candidate,) = answers["candidates"]
    assert candidate["code"] == expected["code"]
    assert candidate["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-3)
    assert candidate["generated"] + candidate["from_prompt"] + candidate["from_examples"] == pytest.approx(1)
    assert candidate["confidence"] is None
    assert [each["code"] for each in answers["examples"]] == [each["code"] for each in expected["neighbours"]]
    assert json.loads(found.content[0].text) == answers
    assert long.is_error
    assert "longer than this model reads" in long.content[0].text
    assert wrong.is_error
    assert "candidates" in wrong.content[0].text


def test_a_server_answers(generators, tmp_path):
    infills = InfillPrompts(tokenizer(), SourceTemplate.of(tokenizers()), tokenizer().sentinels[0], 40)
    (tmp_path / "key").write_text(KEY + "\n")

    async def ask(url):
        with (tmp_path / "log").open("w+") as log:
            async with connected("--url", url, "--api-key", "key", cwd=tmp_path, log=log) as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                found = await client.call_tool("generate_code", {"prompt": FIRST, "candidates": 2})
                filled = await client.call_tool("fill_in_the_middle", {"before": "a", "after": "b"})
                refused = await client.call_tool("generate_code", {"prompt": FIRST, "grammar": "regex:("})
        return names, found, filled, refused

    settings = ServerSettings(ApiKeys([KEY]))
    with serving(generators("learned", beam_size=2, max_tokens=48), settings, infills=infills) as served:
        names, found, filled, refused = anyio.run(ask, served.url)
    assert names == ["generate_code", "fill_in_the_middle"]
    first, second = found.structured_content["candidates"]
    assert first["code"] == CODE
    assert first["finished"]
    assert first["log_probability"] > second["log_probability"]
    assert filled.structured_content["candidates"][0]["code"] != CODE
    assert refused.is_error
    assert "grammar" in refused.content[0].text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir", "none"], "holds no run"),
        (["--url", "http://127.0.0.1:9"], "no server answers"),
        (["--url", "127.0.0.1:8000"], "begins with http"),
        (["--url", "http://127.0.0.1:9", "--api-key", "none"], "--api-key"),
        (["--url", "http://127.0.0.1:9", "--config.decode.beam_size=1"], "changes a run"),
        (["--workdir", "none", "--model", "a"], "--model"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main("mcp", *arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
