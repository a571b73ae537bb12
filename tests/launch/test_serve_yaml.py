"""The Kubernetes example, read: what it starts, asks and waits for is what the server and the image have."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from t2c_jax import cli
from t2c_jax.serve.http_app import Api
from t2c_jax.serve.measures import Measures
from t2c_jax.serve.server_settings import ServerSettings


@pytest.fixture(scope="module")
def documents(repository: Path) -> dict[str, dict[str, Any]]:
    """Those of the file, by their kind."""
    found = list(yaml.safe_load_all((repository / "launch" / "serve.yaml").read_text()))
    assert len({document["kind"] for document in found}) == len(found)
    return {document["kind"]: document for document in found}


@pytest.fixture(scope="module")
def pod(documents) -> dict[str, Any]:
    """The pods' specification."""
    return documents["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod) -> dict[str, Any]:
    """Of the pods, the only one."""
    (found,) = pod["containers"]
    return found


def test_every_selector_finds_the_pods(documents):
    deployment = documents["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    assert deployment["selector"]["matchLabels"].items() <= labels
    assert documents["Service"]["spec"]["selector"].items() <= labels
    budget = documents["PodDisruptionBudget"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels
    assert deployment["replicas"] > budget["minAvailable"]


def test_the_command_is_one_of_ours(container):
    options = cli._parse(list(container["args"]))
    assert options.command == "serve"
    (port,) = container["ports"]
    assert (options.port, options.host) == (port["containerPort"], "0.0.0.0")
    (model,) = options.models
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"/t2c/{model.partition('=')[2]}".startswith(mounts["runs"])
    assert options.api_keys.startswith(mounts["keys"])


def test_probes_ask_what_the_server_answers(container):
    paths = {route.path for route in Api([], ServerSettings(), Measures()).routes()}
    ports = {port["name"] for port in container["ports"]}
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {get["path"] for get in asked.values()} <= paths
    assert {get["port"] for get in asked.values()} <= ports
    assert asked["readinessProbe"]["path"] == "/ready"
    assert asked["livenessProbe"]["path"] == "/health"


def test_the_service_sends_to_the_containers_port(documents, container):
    (port,) = documents["Service"]["spec"]["ports"]
    assert port["targetPort"] in {each["name"] for each in container["ports"]}


def test_there_is_time_to_drain(pod, container):
    options = cli._parse(list(container["args"]))
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert int(seconds) + options.drain < pod["terminationGracePeriodSeconds"]


def test_it_runs_as_the_images_user(repository: Path, pod, container):
    image = (repository / "launch" / "Dockerfile").read_text()
    (uid,) = re.findall(r"useradd --uid (\d+)", image)
    assert pod["securityContext"]["runAsUser"] == int(uid)
    assert container["securityContext"]["readOnlyRootFilesystem"]
    workdir = re.findall(r"^WORKDIR (.*)$", image, re.MULTILINE)
    assert workdir == ["/t2c"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
