"""Secrets: recall on planted ones of each kind, false alarms on real functions, and microseconds a function.

    python benchmarks/planted_secrets.py --planted 200 --functions 100000

Planted secrets are random values in the form that each service gives its keys; they are made here, so that no file
holds any. Each is put into an assignment, a call, a line of a shell or of JSON. Real functions are those of the
standard library and of site-packages; every finding in them is shown, since nearly all are false alarms.
"""

import argparse
import base64
import itertools
import json
import random
import string
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _functions import python_functions

from t2c_jax.corpus.rules.personal_data import find_personal_data
from t2c_jax.corpus.rules.secrets import find_secrets

HEX, LETTERS, DIGITS = "0123456789abcdef", string.ascii_letters, string.digits
ALNUM, UPPER = LETTERS + DIGITS, string.ascii_uppercase + string.digits
URL_SAFE, BASE64 = ALNUM + "-_", ALNUM + "+/"
PLACES = (
    "def client():\n    {name} = '{value}'\n    return connect({name})\n",
    'config = {{"{name}": "{value}", "retries": 3}}\n',
    "export {upper}={value}\n",
    'service:\n  {name}: "{value}"\n',
    'os.environ.setdefault("{upper}", "{value}")\n',
)
QUOTED = (PLACES[0], PLACES[1], PLACES[3])


class Source:
    """Random values."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def of(self, letters: str, length: int) -> str:
        """Some of these letters."""
        return "".join(self.random.choices(letters, k=length))

    def base64(self, data: str) -> str:
        """URL-safe, without padding."""
        return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def private_key(source: Source) -> str:
    """A key in PEM; as one string with escapes, in every second case."""
    kind = source.random.choice(("RSA ", "EC ", "OPENSSH ", ""))
    lines = [source.of(BASE64, 64) for _ in range(source.random.randint(3, 12))]
    end = source.random.choice(("\n", "\\n"))
    return end.join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])


def web_token(source: Source) -> str:
    """A signed JSON web token."""
    parts = ('{"alg":"HS256","typ":"JWT"}', f'{{"sub":"{source.of(DIGITS, 8)}","name":"{source.of(LETTERS, 6)}"}}')
    return ".".join([*map(source.base64, parts), source.of(URL_SAFE, 43)])


Make = Callable[[Source], str]
# kind: (names it is assigned to, places it is put in, how it is made)
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Make]] = {
    "AWS access key": (("key_id", "x"), PLACES, lambda s: "AKIA" + s.of(UPPER, 16)),
    "AWS secret key": (("aws_secret_access_key", "AWS_SECRET"), PLACES, lambda s: s.of(BASE64, 40)),
    "GitHub token": (("token", "x"), PLACES, lambda s: f"gh{s.of('pousr', 1)}_" + s.of(ALNUM, 36)),
    "GitLab token": (("token", "x"), PLACES, lambda s: "glpat" + "-" + s.of(URL_SAFE, 20)),
    "Slack token": (
        ("token", "x"),
        PLACES,
        lambda s: "-".join([f"xox{s.of('bp', 1)}", s.of(DIGITS, 12), s.of(DIGITS, 12), s.of(ALNUM, 24)]),
    ),
    "Slack webhook": (
        ("url", "x"),
        PLACES,
        lambda s: f"https://hooks.slack.com/services/T{s.of(UPPER, 8)}/B{s.of(UPPER, 8)}/{s.of(ALNUM, 24)}",
    ),
    "Stripe key": (("key", "x"), PLACES, lambda s: f"{s.of('sr', 1)}k_live_" + s.of(ALNUM, 24)),
    "Google API key": (("key", "x"), PLACES, lambda s: "AI" + "za" + s.of(URL_SAFE, 35)),
    "OpenAI key": (("key", "x"), PLACES, lambda s: "sk-" + s.of(ALNUM, 20) + "T3Blbk" + "FJ" + s.of(ALNUM, 20)),
    "Anthropic key": (("key", "x"), PLACES, lambda s: "sk-" + "ant-api03-" + s.of(URL_SAFE, 93) + "AA"),
    "Hugging Face token": (("token", "x"), PLACES, lambda s: "hf" + "_" + s.of(LETTERS, 34)),
    "npm token": (("token", "x"), PLACES, lambda s: "npm" + "_" + s.of(ALNUM, 36)),
    "PyPI token": (("token", "x"), PLACES, lambda s: "pypi-" + "AgEIcHlwaS5vcmc" + s.of(URL_SAFE, 100)),
    "SendGrid key": (("key", "x"), PLACES, lambda s: f"SG.{s.of(URL_SAFE, 22)}.{s.of(URL_SAFE, 43)}"),
    "Twilio key": (("sid", "x"), PLACES, lambda s: s.random.choice(("SK", "AC")) + s.of(HEX, 32)),
    "Mailchimp key": (("key", "x"), PLACES, lambda s: f"{s.of(HEX, 32)}-us{s.random.randint(1, 20)}"),
    "Telegram bot token": (("token", "x"), PLACES, lambda s: f"{s.of(DIGITS, 9)}:AA{s.of(URL_SAFE, 33)}"),
    "Discord token": (
        ("token", "x"),
        PLACES,
        lambda s: f"{s.of('MNO', 1)}{s.of(ALNUM, 23)}.{s.of(URL_SAFE, 6)}.{s.of(URL_SAFE, 27)}",
    ),
    "Square key": (
        ("token", "x"),
        PLACES,
        lambda s: "sq0" + s.random.choice(("atp", "csp")) + "-" + s.of(URL_SAFE, 43),
    ),
    "Shopify token": (("token", "x"), PLACES, lambda s: "shp" + "at_" + s.of(HEX, 32)),
    "DigitalOcean token": (("token", "x"), PLACES, lambda s: "dop" + "_v1_" + s.of(HEX, 64)),
    "private key": (("key", "x"), ('{name} = """{value}"""\n',), private_key),
    "JSON web token": (("token", "x"), PLACES, web_token),
    "Azure storage key": (
        ("connection", "x"),
        PLACES[:2],
        lambda s: f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={s.of(BASE64, 86)}==",
    ),
    "password in a URL": (
        ("url", "x"),
        PLACES[:2],
        lambda s: f"postgres://{s.of(string.ascii_lowercase, 5)}:{s.of(ALNUM, 12)}@db.internal:5432/app",
    ),
    "HTTP authorization": (
        ("Authorization",),
        ('headers = {{"{name}": "Bearer {value}"}}\n', 'curl -H "{name}: Bearer {value}" https://api.internal\n'),
        lambda s: s.of(ALNUM, 40),
    ),
    "Artifactory key": (("key", "x"), QUOTED, lambda s: "AKCp" + s.of(ALNUM, 60)),
    "Cloudant password": (("cloudant_password", "cloudant_api_key"), PLACES, lambda s: s.of(HEX, 64)),
    "IBM Cloud key": (("ibm_cloud_api_key", "ibm_iam_key"), PLACES, lambda s: s.of(URL_SAFE, 44)),
    "IBM COS key": (("cos_hmac_secret_access_key", "secret_access_key"), PLACES, lambda s: s.of(HEX, 48)),
    "SoftLayer key": (("softlayer_api_key", "sl_api_key"), PLACES, lambda s: s.of(HEX, 64)),
    "Databricks token": (("token", "x"), PLACES, lambda s: "dapi" + s.of(HEX, 32)),
    "password or key by its name": (
        ("api_key", "client_secret", "db_password", "auth_token"),
        QUOTED,
        lambda s: s.of(ALNUM, s.random.randint(16, 40)),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", type=int, default=200, help="secrets of each kind")
    parser.add_argument("--functions", type=int, default=100_000, help="most real functions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("roots", nargs="*", type=Path, help="directories of Python files")
    options = parser.parse_args()
    recall, missed = planted(options.planted, options.seed)
    paths = sysconfig.get_paths()
    roots = options.roots or [Path(paths["stdlib"]), Path(paths["purelib"])]
    result = {
        "kinds": len(recall),
        "recall": round(sum(recall.values()) / len(recall), 4),
        "recall_by_kind": recall,
        "missed": missed[:10],
        **alarms(roots, options.functions),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


def planted(count: int, seed: int) -> tuple[dict[str, float], list[str]]:
    """For each kind the share that is found whole or in part, and what was missed."""
    recall, missed = {}, []
    for kind, (names, places, make) in KINDS.items():
        source = Source(seed)
        found = 0
        for _ in range(count):
            value, name = make(source), source.random.choice(names)
            text = source.random.choice(places).format(name=name, upper=name.upper(), value=value)
            begin = text.index(value)
            hits = [each for each in find_secrets(text) if each.start < begin + len(value) and each.end > begin]
            found += bool(hits)
            if not hits:
                missed.append(f"{kind}: {text}")
        recall[kind] = round(found / count, 4)
    return recall, missed


def alarms(roots: list[Path], most: int) -> dict[str, Any]:
    """Findings in real functions."""
    texts = list(itertools.islice(python_functions(roots, most_columns=4), most))
    result: dict[str, Any] = {"functions": len(texts)}
    for name, find in (("secrets", find_secrets), ("personal_data", find_personal_data)):
        started = time.process_time()
        found = [(text, findings) for text in texts if (findings := find(text))]
        seconds = time.process_time() - started
        result[name] = {
            "functions_with_findings": len(found),
            "per_thousand": round(1000 * len(found) / max(1, len(texts)), 3),
            "microseconds_a_function": round(1e6 * seconds / max(1, len(texts)), 1),
            "found": [f"{each.kind}: {text[each.start : each.end]}"[:100] for text, each_s in found for each in each_s][
                :20
            ],
        }
    return result


if __name__ == "__main__":
    main()
