"""The interface, as the npm package openai sees it; skipped where ``launch/test.sh`` could not install it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from served import KEY, serving, until
from tiny_generators import PAIRS

from t2c_jax.serve.api_keys import ApiKeys
from t2c_jax.serve.server_settings import ServerSettings

FIRST, CODE = next(iter(PAIRS.items()))
PACKAGES = Path(__file__).parents[2] / ".cache" / "node"


@pytest.fixture(scope="module")
def node():
    path = shutil.which("node")
    if path is None or not (PACKAGES / "node_modules" / "openai").is_dir():
        pytest.skip("no node on PATH, or no npm package openai in .cache/node")
    return path


def test_the_npm_client(node, generators):
    settings = ServerSettings(ApiKeys([KEY]))
    with serving(generators("learned", beam_size=2, max_tokens=48), settings) as served:
        served.model.warm_up()
        script = Path(__file__).with_name("client.mjs")
        done = subprocess.run(
            [node, script, f"{PACKAGES}/", served.url, KEY, FIRST], capture_output=True, text=True, timeout=120
        )
        until(lambda: not served.model.scheduler.running)  # the stream that was aborted has given its row back
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["models"] == ["tiny"]
    assert found["texts"][0] == found["streamed"] == found["chat"] == CODE
    assert "".join(found["tokens"]) == CODE
    assert len(found["texts"]) == 2
    assert found["usage"]["total_tokens"] > found["chatUsage"]["completion_tokens"] > 0
    assert found["json"] in ("ab", "cd")
    assert found["unknown"]["kind"] == "NotFoundError"
    assert (found["unknown"]["status"], found["unknown"]["code"]) == (404, "model_not_found")
    assert (found["long"]["kind"], found["long"]["code"]) == ("BadRequestError", "context_length_exceeded")
    assert found["key"]["kind"] == "AuthenticationError"
    assert CODE.startswith(found["first"])
