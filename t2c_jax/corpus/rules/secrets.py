r"""Secrets in code and text: passwords, keys and tokens of services, each kind by a rule of its own.

A rule is anchored: to a prefix that the service gives its keys (``ghp_``), to a host, or to the name that the value is
assigned to. Entropy alone decides nothing, since digests, UUIDs and test vectors have as much of it. Nothing is
verified: no request is ever sent.
"""

from __future__ import annotations

import itertools
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from t2c_jax.corpus.rules.finding import Finding, without_overlaps

_PLACEHOLDER = re.compile(
    r"(?i)example|sample|dummy|placeholder|change_?me|your|redacted|xxxx|\*\*\*|\.\.\.|<|>|\$\{|\{\{|%s|fake|mock"
    r"|secret|passw|foobar|abcdef|qwerty|12345|username|localhost|test|todo|insert"
)
_EXAMPLE = re.compile(r"(?i)example|redacted|x{6}|0{12}|\*{4}|your[_-]")
_WORD = re.compile(r"[a-z]+|[A-Z]+")
_SIGNS_OF_CODE = frozenset("(){}[]<>;,@ :\\|'\"")


def _generated(value: str) -> bool:
    """Whether a value looks generated, and not like words, a path, or code."""
    if _PLACEHOLDER.search(value) or not _SIGNS_OF_CODE.isdisjoint(value):
        return False
    letters = sum(map(str.isalpha, value))
    longest_word = max(map(len, _WORD.findall(value)), default=0)
    return any(map(str.isdigit, value)) and letters >= 3 and longest_word <= max(6, len(value) // 4)


def _generated_alone(value: str) -> bool:
    """The same where a name such as ``password`` is all that speaks for a secret."""
    if len(value) < 12 or _entropy(value) < min(3.0, 0.75 * math.log2(len(value))):
        return False
    return _generated(value) or _is_random(value)


def _is_random(value: str) -> bool:
    """Whether small letters, capitals and digits change as chance has them: names have long words, or few capitals."""
    if len(value) < 16 or not value.isascii() or not value.isalnum() or _PLACEHOLDER.search(value):
        return False
    kinds = ["A" if sign.isupper() else "a" if sign.islower() else "1" for sign in value]
    changes = sum(one != other for one, other in itertools.pairwise(kinds))
    capitals, letters = kinds.count("A"), len(kinds) - kinds.count("1")
    return changes >= 0.35 * len(value) and 0.3 * letters <= capitals <= 0.7 * letters


def _chosen(value: str) -> bool:
    """Whether a password in a URL is no word that stands for one."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda sign: not sign.isalnum())
    return len(value) >= 6 and sum(any(map(kind, value)) for kind in kinds) >= 2 and not _PLACEHOLDER.search(value)


def _entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


class _Rule(NamedTuple):
    """A kind of secret.

    Attributes:
      kind: its name, as it is counted.
      anchors: one of these is in every text that the pattern matches; in lower case for ``folds``.
      pattern: matches at the secret; its group ``secret``, if it has one, is the secret itself.
      accepts: whether a value that matches is a secret; examples never are.
      folds: the anchors may be in any case.
      whole: no match begins within a word. It is tested after a match, since a pattern that begins with a look-behind
        is tried at every character.
      name: what must end where the match begins. It is tested after a match too: few texts have such values.
    """

    kind: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    accepts: Callable[[str], bool] | None = None
    folds: bool = False
    whole: bool = False
    name: re.Pattern[str] | None = None


def _key(kind: str, anchors: str, pattern: str) -> _Rule:
    """A key that is known by its own form."""
    return _Rule(kind, tuple(anchors.split()), re.compile(f"(?:{pattern})(?![A-Za-z0-9_+/=-])"), whole=True)


def _within(kind: str, anchors: tuple[str, ...], pattern: str, accepts: Callable[[str], bool] | None = None) -> _Rule:
    """A secret that is known by what is around it, in any case."""
    return _Rule(kind, anchors, re.compile(pattern), accepts, folds=True)


_NAME_CHARS = 80


def _named(
    kind: str,
    anchors: str,
    name: str,
    value: str,
    accepts: Callable[[str], bool] | None = _generated,
    sign: str = "[:=>,(|]",
) -> _Rule:
    """A value that is known by the name it is assigned to; ``sign`` is the last character between them."""
    pattern = rf"{sign}\s{{0,3}}(?:[bru]{{0,2}}['\"])?(?P<secret>{value})(?![A-Za-z0-9+/=_-])"
    # What is public by its name is no secret, such as the publicKeyToken of an assembly.
    before = re.compile(rf"(?i:(?<!\w)(?!\w*public)\w*?(?:{name}))[\w-]{{0,24}}['\"]?\]?\s{{0,3}}[:=|]?\Z")
    return _Rule(kind, tuple(anchors.split()), re.compile(pattern), accepts, folds=True, name=before)


_HEX = "[0-9a-f]"
_KEY_SIGNS = frozenset(f"{string.ascii_letters}{string.digits}_+/-")
_KEY_BLOCK = r"(?:[^-]|-(?!----))"  # up to the next line of five hyphens
_KEY_LINE = re.compile(r"(?:(?<=\\n)|(?<![A-Za-z0-9+/=\\]))[A-Za-z0-9+/=]{16,}")
_SECRET_NAME = (
    "api_?key|secret|passw(?:or)?d|passphrase|pwd|access_?key|auth_?key|private_?key|client_?key|account_?key"
    "|encryption_?key|signing_?key|credentials?|token"
)

RULES = (
    _key("AWS access key", "AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    _named(
        "AWS secret key",
        "aws s3",
        "aws|s3",
        r"(?=[A-Za-z0-9/+]*[a-z])(?=[A-Za-z0-9/+]*[A-Z])[A-Za-z0-9/+]{40}",
    ),
    _key(
        "GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255}",
    ),
    _key(
        "GitLab token",
        "gl GR1348941",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[\w.-]{20,300}|GR1348941[\w-]{20,50}",
    ),
    _key("Slack token", "xox xapp-", r"xox[abdeoprs]-(?:\d+-)?[A-Za-z0-9-]{10,250}|xapp-\d-[A-Za-z0-9-]{20,250}"),
    _within(
        "Slack webhook",
        ("hooks.slack.com",),
        r"https?://hooks\.slack\.com/(?:services|workflows|triggers)/"
        r"(?P<secret>[A-Za-z0-9_]{6,20}/[A-Za-z0-9_]{6,20}/[A-Za-z0-9_/]{16,60})",
    ),
    _key(
        "Stripe key",
        "_live_ _test_ _prod_ whsec_",
        r"[srp]k_(?:live|test|prod)_[0-9A-Za-z]{10,250}|whsec_[A-Za-z0-9+/]{24,64}",
    ),
    _key("Google API key", "AIza", r"AIza[\w-]{35}"),
    _key("Google OAuth secret", "GOCSPX- ya29.", r"GOCSPX-[\w-]{28}|ya29\.[\w-]{20,300}"),
    _key(
        "OpenAI key",
        "sk-",
        r"sk-[\w-]{0,130}T3BlbkFJ[\w-]{20,120}|sk-(?:proj|svcacct|admin)-[\w-]{40,200}|sk-[A-Za-z0-9]{48}",
    ),
    _key("Anthropic key", "sk-ant-", r"sk-ant-(?:[a-z]{3,8}\d{2}-)?[\w-]{32,200}"),
    _key("Hugging Face token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{34,40}"),
    _key("npm token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _within(
        "npm token",
        ("_authtoken",),
        r"(?i:_authToken)\s?=\s?['\"]?(?P<secret>(?:npm_)?[A-Za-z0-9-]{32,40})",
        _generated,
    ),
    _key("PyPI token", "pypi-AgE", r"pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZw)[\w-]{40,500}"),
    _key("SendGrid key", "SG.", r"SG\.[\w-]{20,24}\.[\w-]{39,50}"),
    _key("Twilio key", "SK AC", rf"(?:SK|AC){_HEX}{{32}}"),
    _key("Mailgun key", "key- mailgun", rf"key-{_HEX}{{32}}|{_HEX}{{32}}-{_HEX}{{8}}-{_HEX}{{8}}"),
    _key("Mailchimp key", "-us", rf"{_HEX}{{32}}-us\d{{1,2}}"),
    _key("Telegram bot token", ":A", r"\d{8,10}:A[A-Za-z0-9_-]{34}"),
    _key(
        "Discord token",
        "M N O mfa.",
        r"[MNO][A-Za-z\d_-]{23,27}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27,40}|mfa\.[\w-]{84}",
    ),
    _within(
        "Discord webhook",
        ("/api/webhooks/",),
        r"discord(?:app)?\.com/api/webhooks/(?P<secret>\d{17,20}/[\w-]{60,80})",
    ),
    _key("Square key", "sq0 EAAA", r"sq0(?:atp|csp|idp|cst)-[\w-]{22,43}|EAAA[\w-]{60}"),
    _key("Shopify token", "shp", r"shp(?:at|ca|pa|ss|ua)_[0-9a-fA-F]{32}"),
    _key("DigitalOcean token", "_v1_", rf"do[oprt]_v1_{_HEX}{{64}}"),
    _within(
        "private key",
        ("private key",),
        rf"-----BEGIN (?:[A-Z0-9]+ ){{0,3}}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?P<secret>{_KEY_BLOCK}{{0,200}}?[A-Za-z0-9+/]{{30}}{_KEY_BLOCK}{{0,20000}})",
    ),
    _within(
        "private key",
        ("putty-user-key-file",),
        r"PuTTY-User-Key-File-\d:[^\0]{10,4000}?Private-Lines: \d+\s+(?P<secret>[A-Za-z0-9+/=\s]{20,4000})",
    ),
    _key("JSON web token", "eyJ", r"eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}"),
    _within(
        "Azure storage key",
        ("accountkey=", "sharedaccesskey="),
        r"(?i:(?:Account|SharedAccess)Key)=(?P<secret>[A-Za-z0-9+/]{40,88}={0,2})",
    ),
    _key("Azure client secret", "Q~", r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}"),
    _within(
        "password in a URL",
        ("://",),
        r"://[^\s:@/'\"<>{}$()\[\]]{0,60}:"
        r"(?P<secret>[^\s:@/'\"<>{}$()\[\]%]{3,120})@(?=[A-Za-z0-9\[])",
        _chosen,
    ),
    _within(
        "HTTP authorization",
        ("basic ", "bearer ", "token "),
        r"(?i:authorization['\"]?\]?\s{0,3}(?:[:=,]|=>)\s{0,3}['\"]?(?:basic|bearer|token))"
        r"\s(?P<secret>[A-Za-z0-9+/._=-]{16,2000})",
        _generated,
    ),
    _key("Artifactory key", "AKC cmVmd", r"AKCp?(?=[A-Za-z]*\d)[A-Za-z0-9]{10,80}|cmVmd[A-Za-z0-9]{59}"),
    _Rule(
        "Artifactory key",
        ("AP",),
        re.compile(r"(?<![^\s'\"=:])AP[\dABCDEF](?=[A-Z\d]*[a-z])(?=[A-Za-z]*\d)[A-Za-z0-9]{8,80}(?![^\s'\"])"),
    ),
    _named(
        "Cloudant password",
        "cl",
        "(?:cloudant|clou|cl)[_-]?(?:pass|pw|key|api|token)",
        rf"{_HEX}{{64}}|[a-z]{{24}}",
        accepts=None,
    ),
    _within(
        "Cloudant password",
        (".cloudant.com",),
        r"://[\w-]{1,60}:(?P<secret>[0-9a-f]{64}|[a-z]{24})@[\w-]+\.cloudant\.com",
    ),
    _named("IBM Cloud key", "ibm cloud bx iam", "ibm|cloud|bx|iam", r"[A-Za-z0-9_-]{44}"),
    _named("IBM COS key", "cos ibm secret", "cos|ibm|secret", rf"{_HEX}{{48}}"),
    _named("SoftLayer key", "sl softlayer", "softlayer|sl_?(?:api|user)?_?(?:key|pass|token)", rf"{_HEX}{{64}}"),
    _within("SoftLayer key", ("api.softlayer.com",), r"api\.softlayer\.com/soap/v3(?:\.1)?/(?P<secret>[a-z0-9]{64})"),
    _key("Databricks token", "dapi", rf"dapi{_HEX}{{32}}(?:-\d)?"),
    _key("Vault token", "hvs. hvb. hvr.", r"hv[sbr]\.[\w-]{24,300}"),
    _key("Terraform token", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,70}"),
    _key("Docker token", "dckr_", r"dckr_(?:pat|oat)_[\w-]{27,40}"),
    _key("Grafana token", "glc_ glsa_", r"gl(?:c|sa)_[A-Za-z0-9+/_]{32,400}={0,2}"),
    _key("New Relic key", "NRAK- NRII- NRJS- NRAL- NRRA-", r"NR(?:AK|II|JS|AL|RA)-[A-Za-z0-9-]{27,40}"),
    _key("Postman key", "PMAK-", rf"PMAK-{_HEX}{{24}}-{_HEX}{{34}}"),
    _key("RubyGems key", "rubygems_", rf"rubygems_{_HEX}{{48}}"),
    _key("Atlassian token", "ATATT3 ATCTT3", r"AT[AC]TT3[\w=-]{100,250}"),
    _key("age key", "AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _key("Replicate token", "r8_", "r8_[A-Za-z0-9]{37,40}"),
    _key("Groq key", "gsk_", "gsk_[A-Za-z0-9]{48,60}"),
    _key("Linear key", "lin_", "lin_(?:api|oauth)_[A-Za-z0-9]{32,64}"),
    _key("Notion token", "ntn_ secret_", "ntn_[A-Za-z0-9]{40,50}|secret_[A-Za-z0-9]{43}"),
    _key("Sentry token", "sntry", "sntry[su]_[A-Za-z0-9+/=_]{60,300}"),
    _key("Pulumi token", "pul-", rf"pul-{_HEX}{{40}}"),
    _key("Facebook token", "EAA", "EAA[A-Z][A-Za-z0-9]{80,250}"),
    _key("Heroku key", "HRKU-", r"HRKU-[\w-]{36,70}"),
    _named(
        "Heroku key", "heroku", "heroku", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    ),
    _named(
        "password or key by its name",
        "key secret passw passphrase pwd credential token",
        _SECRET_NAME,
        r"""(?<=['"])[^\s'"\\]{12,200}(?=['"])""",
        _generated_alone,
        sign="[:=>]",
    ),
)


def find_secrets(text: str) -> list[Finding]:
    """Secrets in a text, in its order, none within another."""
    lower = text.lower()
    found = [
        finding
        for rule in RULES
        if any(map((lower if rule.folds else text).__contains__, rule.anchors))
        for finding in _matches(rule, text)
    ]
    return without_overlaps(found)


def _matches(rule: _Rule, text: str) -> Iterator[Finding]:
    place = 0
    while match := rule.pattern.search(text, place):
        if rule.whole and match.start() and (text[match.start() - 1] in _KEY_SIGNS):
            place = match.start() + 1
            continue
        if rule.name and not rule.name.search(text[max(0, match.start() - _NAME_CHARS) : match.start()]):
            place = match.start() + 1
            continue
        place = max(match.end(), match.start() + 1)
        group = "secret" if "secret" in rule.pattern.groupindex else 0
        value = match[group]
        if rule.kind == "private key":  # its lines may be quoted, each by itself
            yield from (Finding(rule.kind, *line.span()) for line in _KEY_LINE.finditer(text, *match.span(group)))
        elif _EXAMPLE.search(value) or (len(value) > 16 and len(set(value)) < 7):
            continue
        elif rule.accepts is None or rule.accepts(value):
            yield Finding(rule.kind, *match.span(group))
