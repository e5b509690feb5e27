"""A layer on four replicas."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def check_shared_kernel(convolve, inputs, kernel):
    """Asserts that the gradient of a kernel that replicas share is the sum of theirs."""

    def gradient(inputs, kernel, total=lambda x: x):
        return jax.grad(lambda w: total(jnp.square(convolve(inputs, w)).sum()))(kernel)

    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    shared, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("data")
    replicated = jax.shard_map(
        lambda x, w: gradient(x, w, lambda local: lax.psum(local, "data")),
        mesh=mesh,
        in_specs=(split, shared),
        out_specs=shared,
    )
    expected = gradient(inputs, kernel)
    # On the scale of the largest entry: others are sums that nearly cancel.
    atol = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(jax.jit(replicated)(inputs, kernel), expected, rtol=0, atol=atol)
