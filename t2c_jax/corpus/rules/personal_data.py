"""E-mail addresses and public IP addresses, and what they are replaced by.

Reserved values replace them, the same for the same address: ``user123@example.com``, an IPv4 address of a network for
documentation (RFC 5737), an IPv6 address below ``2001:db8::`` (RFC 3849). So code stays valid, and what was equal stays
equal. There are too few of them to find out the address from its replacement.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re

from t2c_jax.corpus.rules.finding import Finding, without_overlaps

EMAIL, IPV4, IPV6 = "e-mail address", "public IPv4 address", "public IPv6 address"

# Behind a word that is called or indexed there is no address: a@b.to(c) multiplies matrices.
_EMAIL = re.compile(
    r"(?<![\w.%+/@$-])(?P<user>[A-Za-z0-9][A-Za-z0-9._%+-]{0,63})@"
    r"(?P<host>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,4}[A-Za-z]{2,18})(?![\w@(\[{]|[.-]\w|:\w)"
)
_RESERVED_HOST = re.compile(
    r"(?i)(?:^|\.)(?:example|test|invalid|localhost|local|internal)$|(?:^|\.)(?:example\d?|test|domain|foo|bar|mail|email"
    r"|host|server|company|yourdomain|mydomain|users\.noreply\.github)\.(?:com|org|net|edu|co|io)$"
)
_NO_PERSON = frozenset(("git", "hg", "svn", "noreply", "no-reply", "donotreply", "example", "user", "username", "you"))
_TOP_LEVEL = {
    *("com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro", "dev", "app", "io"),
    *("ai", "co", "me", "tv", "cc", "us", "uk", "de", "fr", "it", "es", "pt", "nl", "be", "lu", "ch", "at"),
    *("dk", "se", "no", "fi", "is", "ie", "pl", "cz", "sk", "hu", "ro", "bg", "gr", "tr", "ru", "ua", "by"),
    *("lt", "lv", "ee", "rs", "hr", "si", "ca", "mx", "br", "ar", "cl", "pe", "ve", "uy", "cn", "jp", "kr"),
    *("tw", "hk", "sg", "my", "th", "vn", "id", "ph", "in", "pk", "bd", "lk", "ir", "il", "sa", "ae", "eg"),
    *("za", "ng", "ke", "ma", "tn", "au", "nz", "eu", "asia", "online", "tech", "site", "xyz", "club", "cloud"),
    *("blog", "email", "science", "academy", "systems", "software", "solutions", "tools"),
}
_IPV4 = re.compile(r"(?<![\w.:-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\w)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:%]|\.\w)")
_NUMBERED = re.compile(
    r"(?i)(?:sections?|chapter|version|release|rfc|§|clause|paragraph)\W{0,3}(?:[\w.]+\W{1,6}){0,1}$"
)
_RESOLVERS = {
    *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "149.112.112.112", "208.67.222.222", "208.67.220.220"),
    *("2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111", "2606:4700:4700::1001"),
}
_OBJECT_IDENTIFIERS = ("1.2.840", "1.3.6.1", "1.3.132", "2.5.4", "2.5.29", "2.16.840", "0.9.2342")


def find_personal_data(text: str) -> list[Finding]:
    """Addresses of people and of public hosts, in the order of the text."""
    found = []
    if "@" in text:
        found += [Finding(EMAIL, *match.span()) for match in _EMAIL.finditer(text) if _is_personal(match)]
    if text.count(".") >= 3:
        found += [Finding(IPV4, *match.span()) for match in _IPV4.finditer(text) if _is_public_v4(match)]
    if ":" in text:
        found += [Finding(IPV6, *match.span()) for match in _IPV6.finditer(text) if _is_public(match[0])]
    return without_overlaps(found)


def substitute(kind: str, address: str) -> str:
    """The reserved value that replaces an address."""
    number = int.from_bytes(hashlib.blake2b(address.lower().encode("utf-8"), digest_size=4).digest(), "big")
    if kind == EMAIL:
        return f"user{number % 1000}@example.com"
    if kind == IPV4:
        return f"203.0.113.{number % 254 + 1}"
    return f"2001:db8::{number % 0xFFF + 1:x}"


def _is_personal(match: re.Match[str]) -> bool:
    host = match["host"].lower()
    before = match.string[max(0, match.start() - 80) : match.start()]
    if before.endswith(":") and "//" in before.rsplit(None, 1)[-1]:  # a user and a password in a URL
        return False
    return (
        host.rpartition(".")[2] in _TOP_LEVEL
        and not _RESERVED_HOST.search(host)
        and match["user"].lower() not in _NO_PERSON
    )


def _is_public_v4(match: re.Match[str]) -> bool:
    """Whether it is a public address, and not the number of a version, a section, or a kind of object."""
    address = match[0]
    octets = address.split(".")
    if _NUMBERED.search(match.string, max(0, match.start() - 40), match.start()):
        return False
    if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == "0") for octet in octets):
        return False
    is_version = all(int(octet) < 20 for octet in octets) or octets[1:] == ["0", "0", "0"]
    return not is_version and not address.startswith(_OBJECT_IDENTIFIERS) and _is_public(address)


def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast and address.lower() not in _RESOLVERS
