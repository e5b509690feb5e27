"""The rate of a device's own bfloat16 matrix products: what a step's rate is compared with.

    python benchmarks/matmul.py [--side 8192]

Products of random square matrices, several in flight; the median over rounds.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

IN_FLIGHT = 16  # products a round; the host waits for the last one
ROUNDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="rows and columns of the matrices")
    side = parser.parse_args().side
    matrices = jax.random.normal(jax.random.key(0), (2, side, side), jnp.bfloat16)
    multiply = jax.jit(jnp.matmul)
    jax.block_until_ready(multiply(*matrices))
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(IN_FLIGHT):
            product = multiply(*matrices)
        product.block_until_ready()
        seconds.append(time.perf_counter() - started)
    rate = IN_FLIGHT * 2 * side**3 / statistics.median(seconds) / 1e12
    device = jax.devices()[0].device_kind
    print(f"bfloat16 products of {side} x {side} on {device}, jax {jax.__version__}: {rate:.4g} TFLOP/s")


if __name__ == "__main__":
    main()
