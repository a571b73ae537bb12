"""Secrets and personal data. What looks like a secret is put together here, so that no file holds any."""

import dataclasses
import random
import string

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.corpus.rules import PairRules
from t2c_jax.corpus.rules.finding import Finding, replaced, without_overlaps
from t2c_jax.corpus.rules.personal_data import find_personal_data, substitute
from t2c_jax.corpus.rules.secrets import RULES, find_secrets
from t2c_jax.corpus.tally import Tally
from t2c_jax.languages.execution import Execution

RANDOM = random.Random(7)
ALNUM = string.ascii_letters + string.digits


def letters(count, of=ALNUM):
    return "".join(RANDOM.choices(of, k=count))


TOKEN = "ghp" + "_" + letters(36)
CONFIG = CorpusConfig(min_text_chars=0, min_code_chars=0, min_alphanumeric_share=0.0)


def pair(code, text="Connects to the service.", tests=None):
    return Pair("id", text, code, "python", "function", Source("r", "", "a.py", 1, 2, ""), tests=tests)


def kinds(text):
    return [finding.kind for finding in find_secrets(text)]


def test_a_secret_is_replaced_wherever_the_pair_has_it():
    tests = Execution(setup=f"TOKEN = '{TOKEN}'", files={"a.env": f"TOKEN={TOKEN}"})
    seen = Tally()
    found = PairRules(CONFIG)(pair(f'connect("{TOKEN}")', f"Connects as {TOKEN}.", tests), seen)
    assert isinstance(found, Pair)
    place = found.code.removeprefix('connect("').removesuffix('")')
    assert place.startswith("REDACTED_")
    assert found.text == f"Connects as {place}."
    assert (found.tests.setup, found.tests.files) == (f"TOKEN = '{place}'", {"a.env": f"TOKEN={place}"})
    assert seen.to_dict() == {"GitHub token": {"count": 1, "examples": ["r/a.py:1"]}}
    compile(found.code, "a.py", "exec")


def test_a_choice_drops_or_keeps():
    held = pair(f'connect("{TOKEN}", "jane.doe@university.edu")')
    assert PairRules(dataclasses.replace(CONFIG, secrets="drop"))(held) == "GitHub token in the pair"
    assert PairRules(dataclasses.replace(CONFIG, personal_data="drop"))(held) == "e-mail address in the pair"
    keep = dataclasses.replace(CONFIG, secrets="keep", personal_data="keep")
    assert PairRules(keep)(held) is held
    assert PairRules(CONFIG, mined=False)(held) is held  # pairs of files come through unchanged
    assert PairRules(dataclasses.replace(CONFIG, rules_for="all"), mined=False)(held) != held


def test_what_holds_none_is_the_same_object():
    one = pair("def f(x):\n    return x + 1\n")
    assert PairRules(CONFIG)(one) is one


def test_the_lines_of_a_private_key_are_replaced_and_its_quotes_are_kept():
    lines = [letters(64) for _ in range(3)]
    begin, end = ("-----" + word + " RSA PRIVATE KEY-----" for word in ("BEGIN", "END"))
    code = "KEY = (\n" + "".join(f'    "{line}\\n"\n' for line in (begin, *lines, end)) + ")\n"
    found = PairRules(CONFIG)(pair(code))
    assert isinstance(found, Pair)
    assert not any(line in found.code for line in lines)
    compile(found.code, "a.py", "exec")
    assert not kinds(f'if text.startswith("{begin}"):\n    return load_pem(text)\n')


@pytest.mark.parametrize(
    "text",
    [
        'token = "your-token-goes-here-123"',
        'password = os.environ["DATABASE_PASSWORD_2024"]',
        'API_KEY = "xxxxxxxxxxxxxxxxxxxx1"',
        "url = 'postgres://user:password@localhost/db'",
        "url = f'https://{user}:{secret_2}@host.example'",
        'sha1 = "356a192b7913b04c54574d18c28d46e6395428ab"',
        'id = "123e4567-e89b-12d3-a456-426614174000"',
        'key = "sort_by_created_at_2"',
        'secret_name = "projects/1234/secrets/name/versions/2"',
        'token_type = "urn:ietf:params:oauth:token-type:jwt2"',
        'publicKeyToken="1fc8b3b9a1e18e3b"',
        "keys = sorted(data, key=lambda item: item.created_at_2024)",
    ],
)
def test_what_is_no_secret(text):
    assert kinds(text) == []


def test_a_random_value_is_a_secret_by_its_name():
    """Also without a digit, and with a long run of letters of one case."""
    alphabet = string.ascii_letters + string.digits
    generator = random.Random(0)
    values = ["".join(generator.choices(alphabet, k=generator.randint(16, 40))) for _ in range(500)]
    missed = [value for value in values if kinds(f'db_password = "{value}"') != ["password or key by its name"]]
    assert len(missed) <= len(values) / 50
    for word in ("getTheSecondPageOfResults", "AccessForAllOfTheUsers", "orderedByCreationTime2"):
        assert kinds(f'api_key = "{word}"') == []


def test_examples_of_documentation_are_no_secrets():
    assert kinds("AWS_ACCESS_KEY_ID=" + "AKIA" + "IOSFODNN7" + "EXAMPLE") == []
    assert kinds("AWS_ACCESS_KEY_ID=" + "AKIA" + letters(16, string.ascii_uppercase)) == ["AWS access key"]


def test_a_key_within_a_word_is_none():
    assert kinds(f"x{TOKEN}") == kinds(f"{TOKEN}-more") == []
    assert kinds(f"({TOKEN})") == ["GitHub token"]


def test_rules_are_many():
    assert len({rule.kind for rule in RULES}) >= 50


def test_hostile_text_takes_no_long():
    for unit in ("a", "a.", "A-", "eyJ", "-----BEGIN PRIVATE KEY-----", "key='", "://a:", "1.", "a@", "sk-", "=" * 3):
        text = unit * (200_000 // len(unit))
        find_secrets(text)
        find_personal_data(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# Jane <jane.doe@university.edu>", ["jane.doe@university.edu"]),
        ("mailto:jane@company.co.uk.", ["jane@company.co.uk"]),
        ("host = '93.184.216.34'", ["93.184.216.34"]),
        ("host = '[2620:0:2d0:200::7]'", ["2620:0:2d0:200::7"]),
        ("postgres://name:word@db.company.com/x", []),
        ("git clone git@github.com:owner/name", []),
        ("npm install left@1.2.3", []),
        ("y = a@b.to(device)", []),
        ("y = a@weights.data", []),
        ("@app.route", []),
        ("user@example.com, root@localhost", []),
        ("bind 127.0.0.1, 10.1.2.3, 192.168.0.1, 203.0.113.9, 0.0.0.0, 255.255.255.0", []),
        ("resolvers 8.8.8.8 and 1.1.1.1", []),
        ("version 3.11.4.2, Section 23.4.10.22, oid 1.3.6.1.4.1, v10.20.30.40", []),
        ("fe80::1, ::1, std::vector, 2001:db8::5", []),
    ],
)
def test_personal_data(text, found):
    assert [text[each.start : each.end] for each in find_personal_data(text)] == found


def test_addresses_are_replaced_consistently_by_reserved_ones():
    code = "a = 'jane@university.edu'; b = 'Jane@University.edu'; c = '93.184.216.34'; d = '2620:0:2d0:200::7'"
    found = PairRules(CONFIG)(pair(code))
    assert isinstance(found, Pair)
    values = [part for index, part in enumerate(found.code.split("'")) if index % 2]
    assert values[0] == values[1] == substitute("e-mail address", "jane@university.edu")
    assert values[0].endswith("@example.com")
    assert values[2].startswith("203.0.113.")
    assert values[3].startswith("2001:db8::")
    assert find_personal_data(found.code) == []


def test_findings_that_overlap():
    findings = [Finding("b", 2, 4), Finding("a", 1, 3), Finding("c", 1, 2), Finding("d", 5, 6)]
    assert [each.kind for each in without_overlaps(findings)] == ["a", "d"]
    assert replaced("0123456", without_overlaps(findings), lambda kind, part: f"<{kind}{part}>") == "0<a12>34<d5>6"
