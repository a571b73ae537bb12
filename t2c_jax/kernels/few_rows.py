"""Products of few rows with a large kernel, as a step of a decoder has them.

A CPU multiplies the columns of a kernel in panels of 64, one row of a panel after the other. In a matrix these rows are
far apart. Where the kernels of a step are larger than the cache, the processor does not foresee what is read next. So
each panel is laid out as an array of its own. A product of eight rows then takes half the time, and one of 32 rows no
more than before.

Letters: M rows, D inputs, F outputs, P panels, C columns of a panel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from t2c_jax.kernels.attention import target_platform

_COLUMNS = 64  # of a panel: as many as XLA's products on CPUs take at once
_FEWEST = 2**16  # numbers of a kernel; for less, there is too little to do in each panel


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["form"])
@dataclass(frozen=True)
class FewRowsKernel:
    """A kernel that few rows are multiplied by; a pytree.

    Attributes:
      values: as ``form`` says.
      form: ``df``, ``fd`` or ``pdc``.
    """

    values: Float[Array, "D F"] | Float[Array, "F D"] | Float[Array, "P D C"]
    form: str

    @classmethod
    def of(cls, kernel_DF: Float[Array, "D F"]) -> FewRowsKernel:
        """In panels on a CPU, where there are whole ones; otherwise as it is."""
        inputs, outputs = kernel_DF.shape
        if target_platform() != "cpu" or outputs % _COLUMNS or kernel_DF.size < _FEWEST:
            return cls(kernel_DF, "df")
        return cls(jnp.moveaxis(kernel_DF.reshape(inputs, outputs // _COLUMNS, _COLUMNS), 1, 0), "pdc")

    @classmethod
    def of_table(cls, table_FD: Float[Array, "F D"]) -> FewRowsKernel:
        """Of a kernel whose outputs come first. Only a CPU needs another copy of it."""
        return cls.of(table_FD.T) if target_platform() == "cpu" else cls(table_FD, "fd")

    def __call__(self, x_D: Float[Array, "*M D"], dtype: Any = None) -> Float[Array, "*M F"]:
        """The product; in ``dtype`` if given."""
        if self.form != "pdc":
            return jnp.einsum(f"...d,{self.form}->...f", x_D, self.values, preferred_element_type=dtype)
        count, inputs, columns = self.values.shape
        x_MD = x_D.reshape(-1, inputs)
        # Without the barrier, the compiler puts the panels together and multiplies once.
        x_PMD = jax.lax.optimization_barrier(jnp.broadcast_to(x_MD, (count, *x_MD.shape)))
        y_PMC = jnp.einsum("pmd,pdc->pmc", x_PMD, self.values, preferred_element_type=dtype)
        return jnp.moveaxis(y_PMC, 0, 1).reshape(*x_D.shape[:-1], count * columns)
