"""Context contrast of a strong view with the mean teacher's view of the same place in another context."""

import jax
import jax.numpy as jnp

from crcfp_jax.losses.contrastive import align, directional_contrast
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.cells import project_cells, push_negatives
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.pseudo_label_metrics import class_shares
from crcfp_jax.methods.systems.definition import Term


def teacher_contrast(context: Context, term: Term) -> Outcome:
    """A place looks alike to the student, altered strongly, and to the teacher in another context (after CRCFP).

    Streams are the teacher's two overlapping crops and a strong view of the first. An anchor is a cell of the strong
    view; its positive is the teacher's vector of the same place in the second crop, where it names the same class in
    both and is sure of it in the second; its negatives are the teacher's vectors of other classes that it was sure of,
    of both crops, from the bank, into which this step's are pushed first. Temperature and chunk are those of
    `config.contrastive`.

    Returns:
        The loss, shares of accepted anchors and filled slots, and the bank with this step's negatives.
    """
    first, second, strong = term.streams
    heads, settings = context.heads, context.config.contrastive
    maps, classes, sure = [], [], []
    for stream in (first, second):
        vectors, labels, logits = jax.lax.stop_gradient(
            project_cells(context.heads_of(stream), context.features[stream])
        )
        maps.append(vectors)
        classes.append(labels)
        sure.append(jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1) > context.setting(term, "accept"))
    kept = [jnp.where(own, labels, banks.EMPTY) for own, labels in zip(sure, classes, strict=True)]
    negatives = context.setting(term, "negatives")
    bank = push_negatives(heads, list(zip(maps, kept, strict=True)), context.bank, context.key, negatives)
    offset, flip = context.overlap(maps[1].shape[1])
    positives, shown = align(maps[1], offset, flip)
    aligned, _ = align(kept[1], offset, flip)
    counts = shown & (aligned == classes[0])
    positives, labels, counts = (context.mixed_as(strong, values) for values in (positives, classes[0], counts))
    anchors, _, _ = project_cells(heads, context.features[strong])
    dimension = anchors.shape[-1]
    values = directional_contrast(
        anchors.reshape(-1, dimension),
        positives.reshape(-1, dimension),
        labels.reshape(-1),
        bank.features,
        bank.labels,
        settings.temperature,
        settings.chunk,
    )
    num_classes = logits.shape[-1]
    shares = class_shares(heads, labels, counts, num_classes)
    metrics = {"positives": shares, "share/positive_pairs": jnp.sum(shares)}
    loss = heads.mean(values.reshape(counts.shape), counts)
    return Outcome(loss, metrics | banks.mix(bank, num_classes), bank)
