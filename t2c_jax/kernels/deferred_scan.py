"""A scan over time with deferred weight gradients: each is one product over all steps, after the scan.

The derivative of ``jax.lax.scan`` adds each step's part of every weight's gradient to an accumulator as large as the
weights. On a CPU moving the accumulators costs more than the products. Here the backward scan carries the cotangents of
the states only, and returns the input of each product and the cotangent of its output. A weight's gradient is one
product of the two, summed over time, as in cuDNN's recurrent layers (Appleyard et al. 2016, "Optimizing Performance of
Recurrent Neural Networks on GPUs", section 3.4).

Letters: T steps; all else is the caller's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array

Apply = Callable[[str, Array], Array]


class Step(Protocol):
    """One step: ``(apply, shared, carry, x) -> (carry, y)``; ``apply(name, input)`` is the product with a weight.

    It must not close over arrays, and each name is applied once.
    """

    def __call__(self, apply: Apply, shared: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        """The next carry, and the step's output."""
        ...


def apply_with(specs: Mapping[str, str], weights: Mapping[str, Array]) -> Apply:
    """The products as they are, for a single step outside of a scan."""
    return lambda name, x: _product(specs[name], x, weights[name])


def _product(spec: str, x: Array, weight: Array) -> Array:
    """In the dtype of ``x``, summed in float32."""
    return jnp.einsum(spec, x, weight.astype(x.dtype), preferred_element_type=jnp.float32)


def scan_with_deferred_gradients(
    step: Step,
    specs: Mapping[str, str],
    weights: Mapping[str, Array],
    shared: Any,
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """``jax.lax.scan`` of ``step``, the same numbers, with gradients of ``weights`` taken over all steps at once.

    Args:
      step: see ``Step``.
      specs: for each weight the einsum of its product, "input,weight->output", without T.
      weights: what ``apply`` multiplies with; constant over time.
      shared: anything else that is constant over time; its gradients are summed step by step.
      carry: before the first step.
      xs: with a leading T axis. All arrays are floating point.
      reverse: from the last step to the first.

    Returns:
      The last carry, and the outputs with a leading T axis.
    """
    return _scan(step, tuple(sorted(specs.items())), reverse, dict(weights), shared, carry, xs)


Specs = tuple[tuple[str, str], ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _scan(step: Step, specs: Specs, reverse: bool, weights: Any, shared: Any, carry: Any, xs: Any) -> tuple[Any, Any]:
    apply = apply_with(dict(specs), weights)
    return jax.lax.scan(lambda before, x: step(apply, shared, before, x), carry, xs, reverse=reverse)


def _forward(
    step: Step, specs: Specs, reverse: bool, weights: Any, shared: Any, carry: Any, xs: Any
) -> tuple[tuple[Any, Any], Any]:
    plain = apply_with(dict(specs), weights)

    def body(before: Any, x: Any) -> tuple[Any, Any]:
        products: dict[str, Array] = {}

        def apply(name: str, value: Array) -> Array:
            products[name] = plain(name, value)
            return products[name]

        after, y = step(apply, shared, before, x)
        return after, (y, before, products)

    last, (ys, befores, products) = jax.lax.scan(body, carry, xs, reverse=reverse)
    return (last, ys), (weights, shared, xs, befores, products)


def _backward(step: Step, specs: Specs, reverse: bool, residuals: Any, cotangents: Any) -> tuple[Any, ...]:
    weights, shared, xs, befores, products = residuals
    d_last, d_ys = cotangents
    by_name = dict(specs)

    def body(carry: tuple[Any, Any], at: Any) -> tuple[Any, Any]:
        d_after, d_shared = carry
        x, before, products_here, d_y = at

        def forward(before: Any, x: Any, shared: Any, products_here: Any) -> tuple[Any, Any]:
            inputs: dict[str, Array] = {}

            def apply(name: str, value: Array) -> Array:
                inputs[name] = value
                return _known(by_name[name], value, weights[name], products_here[name])

            return step(apply, shared, before, x), inputs

        _, pull, inputs = jax.vjp(forward, before, x, shared, products_here, has_aux=True)
        d_before, d_x, d_shared_here, d_products = pull((d_after, d_y))
        return (d_before, jax.tree.map(jnp.add, d_shared, d_shared_here)), (d_x, inputs, d_products)

    start = (d_last, jax.tree.map(jnp.zeros_like, shared))
    (d_carry, d_shared), (d_xs, inputs, d_products) = jax.lax.scan(
        body, start, (xs, befores, products, d_ys), reverse=not reverse
    )
    d_weights = {
        name: _weight_gradient(spec, inputs[name], d_products[name]).astype(weights[name].dtype) for name, spec in specs
    }
    return d_weights, d_shared, d_carry, d_xs


def _weight_gradient(spec: str, inputs: Array, d_products: Array) -> Array:
    operands, output = spec.split("->")
    left, right = operands.split(",")
    # T, upper case, is no letter of a spec.
    return jnp.einsum(
        f"T{left},T{output}->{right}", inputs, d_products.astype(inputs.dtype), preferred_element_type=jnp.float32
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _known(spec: str, x: Array, weight: Array, product: Array) -> Array:
    """A product that is known already, but for its gradients."""
    return product


def _known_forward(spec: str, x: Array, weight: Array, product: Array) -> tuple[Array, tuple[Array, Array]]:
    return product, (x, weight)


def _known_backward(spec: str, residuals: tuple[Array, Array], d: Array) -> tuple[Array, Array, Array]:
    x, weight = residuals
    operands, output = spec.split("->")
    left, right = operands.split(",")
    d_x = jnp.einsum(
        f"{output},{right}->{left}", d.astype(x.dtype), weight.astype(x.dtype), preferred_element_type=jnp.float32
    )
    return d_x.astype(x.dtype), jnp.zeros_like(weight), d


_known.defvjp(_known_forward, _known_backward)
_scan.defvjp(_forward, _backward)
