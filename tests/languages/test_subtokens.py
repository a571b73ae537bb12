import pytest

from t2c_jax.languages.subtokens import subtokens


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("get_user_name", "get user name"),
        ("getUserName", "get user name"),
        ("HTTPServer", "http server"),
        ("parseHTTP2Frame", "parse http 2 frame"),
        ("utf8_decode", "utf 8 decode"),
        ("_private__x", "private x"),
        ("ABC", "abc"),
        ("größeÜber", "größe über"),
        ("x", "x"),
        ("_1", "1"),
        ("__", ""),
    ],
)
def test_subtokens(name: str, parts: str):
    assert " ".join(subtokens(name)) == parts
