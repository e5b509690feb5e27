"""Cross-patch contrast of CDCL (Wu et al. 2022): nuclei against background, as the teacher sees them."""

import jax
import jax.numpy as jnp

from crcfp_jax.losses.cross_patch import clear_cells
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.cells import project_cells, push_negatives
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Term
from crcfp_jax.methods.terms.contrast_with_teacher import contrast_with_teacher


def cross_patch(context: Context, term: Term) -> Outcome:
    """Pulls the student's cells to the teacher's at the same place, away from cells of complementary patches.

    Anchors, and the teacher's cells that become negatives, lie in patches that the teacher's pseudo-labels make clearly
    foreground or clearly background, and have the patch's pseudo-label. A negative is of the other class than its
    anchor. The step's own are pushed into the bank first. Patches are `config.cdcl`'s, temperature and chunk those of
    `config.contrastive`.

    Returns:
        The loss, shares of accepted anchors and filled slots, and the bank with this step's negatives.
    """
    student, teacher = term.streams
    heads = context.heads
    positives, labels, logits = jax.lax.stop_gradient(
        project_cells(context.heads_of(teacher), context.features[teacher])
    )
    clear = clear_cells(labels, context.config.cdcl.patch, context.setting(term, "accept"))
    kept = jnp.where(clear, labels, banks.EMPTY)
    negatives = context.setting(term, "negatives")
    bank = push_negatives(heads, [(positives, kept)], context.bank, context.key, negatives)
    anchors, _, _ = project_cells(heads, context.features[student])
    return contrast_with_teacher(context, anchors, positives, labels, clear, bank, logits.shape[-1])
