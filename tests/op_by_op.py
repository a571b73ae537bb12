"""Initial states computed op by op.

To sample an array of some shape is then compiled once for all models. A whole initialisation is compiled for each
model, and takes as long as to compile its train step. The values are those of the jitted function but for rounding.
"""

from __future__ import annotations

import functools
from typing import Any

import jax

from t2c_jax.train.step import Compiled

enabled = True


def install() -> None:
    """Makes ``Compiled.init`` do so. Several processes, whose arrays one of them cannot make, go on as they are."""
    jitted = Compiled.init

    @functools.wraps(jitted)
    def init(self: Compiled) -> Any:
        if not enabled or jax.process_count() > 1:
            return jitted(self)
        state = self._init.__wrapped__()
        return jax.device_put(state, self.shardings, may_alias=False)  # the state is donated, so each array is its own

    Compiled.init = init  # type: ignore[method-assign]
