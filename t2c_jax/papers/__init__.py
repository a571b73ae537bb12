"""What single papers alone need, one package a paper. Importing this package registers the parts of each."""

from t2c_jax.papers import (
    code2seq,  # noqa: F401
    conala,  # noqa: F401
    deep_api,  # noqa: F401
    nlrx,  # noqa: F401
    semantic_parsing,  # noqa: F401
)
