"""Data preparation and loading; never imports jax, nor anything of crcfp_jax but crcfp_jax.common.

Builders make a data set once; everything else reads it.
"""

import sys

if sys.argv[:1] == ["-m"]:  # what Python puts there while it looks for the module of `python -m`
    from crcfp_jax.common.command import end_at_interrupt

    end_at_interrupt()
