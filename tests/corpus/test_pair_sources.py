"""Where the lines of a pair can be read."""

import pytest

from t2c_jax.corpus.pairs import Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("repository", "commit", "expected"),
    [
        ("github.com/a/b", COMMIT, f"https://github.com/a/b/blob/{COMMIT}/c%20d/%23.py#L3-L7"),
        ("gitlab.com/a/b/c", COMMIT, f"https://gitlab.com/a/b/c/-/blob/{COMMIT}/c%20d/%23.py#L3-7"),
        ("bitbucket.org/a/b", COMMIT, f"https://bitbucket.org/a/b/src/{COMMIT}/c%20d/%23.py#lines-3:7"),
        ("codeberg.org/a/b", COMMIT, f"https://codeberg.org/a/b/src/commit/{COMMIT}/c%20d/%23.py#L3-L7"),
        ("github.com/a/b", f"{COMMIT}-dirty", ""),  # its lines may be elsewhere
        ("github.com/a/b", "1.2", ""),
        ("github.com", COMMIT, ""),
        ("numpy", "2.3.1", ""),
        ("example.org/a/b", COMMIT, ""),
    ],
)
def test_the_address_of_lines(repository, commit, expected):
    assert Source(repository, commit, "c d/#.py", 3, 7, "").url == expected
