"""The train state: everything that a step changes, as one pytree."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.typing import VariableDict
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from crcfp_jax.common.settings import value_at
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.systems.definition import Method
from crcfp_jax.models.network import Network

STUDENT, TEACHER = "student", "teacher"


class TrainState(flax.struct.PyTreeNode):
    """All that training carries from step to step.

    Attributes:
        step: optimiser steps done.
        params: parameters, one top-level key per group (backbone, decoder, classifier, ...).
        batch_stats: running statistics of the normalisation layers (empty for group normalisation).
        opt_state: optimiser state.
        bank: memory bank of the contrastive terms, or None where the method has no such term.
        teacher: 'params' and 'batch_stats' of a mean teacher, or None where the method has none.
    """

    step: Any  # int32 []; Any, since shapes and checkpoint handles take the place of arrays at times
    params: Any
    batch_stats: Any
    opt_state: Any
    bank: banks.Bank | None
    teacher: Any = None

    @property
    def variables(self) -> VariableDict:
        """What `Network.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def inference(self, model: str) -> VariableDict:
        """The variables that inference uses: those of the 'student' or of the 'teacher' (`config.evaluation.model`)."""
        return self.teacher if model == TEACHER else self.variables


def initialise_variables(network: Network, key: Key[Array, ""], side: int) -> VariableDict:
    """Random parameters and initial statistics of every layer that the method uses, for crops of `side` pixels."""
    variables = network.init(key, jnp.zeros((1, side, side, 3)), key[None], method="initialise")
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def create_state(
    network: Network,
    method: Method,
    config: ConfigDict,
    optimizer: optax.GradientTransformation,
    *,
    sharding: jax.sharding.Sharding,
    pretrained: VariableDict | None = None,
) -> TrainState:
    """Builds the state of step 0, placed as `sharding` says.

    Built inside one jitted function, because a state put on the devices from existing arrays may share their memory,
    and a step that donates it would then delete them.

    Args:
        pretrained: variables (host arrays) to start from instead of random ones.
    """

    def create(variables: VariableDict) -> TrainState:
        bank = None
        if term := method.needing("bank"):
            size = value_at(config, term.keys["negatives"]) * config.contrastive.bank_steps
            bank = banks.empty(size, config.model.projection_dim)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables["batch_stats"],
            opt_state=optimizer.init(variables["params"]),
            bank=bank,
            # A copy: donated state must not hold one buffer twice.
            teacher=jax.tree.map(jnp.copy, variables) if method.teacher_decay else None,
        )

    def create_from(key: Key[Array, ""]) -> TrainState:
        return create(initialise_variables(network, key, config.data.side))

    if pretrained is None:
        return jax.jit(create_from, out_shardings=sharding)(jax.random.key(config.seed))
    copies = jax.tree.map(lambda x: jnp.array(np.asarray(x), copy=True), pretrained)
    return jax.jit(create, out_shardings=sharding, donate_argnums=0)(copies)
