"""What can go wrong with the pseudo-labels of a run, told in plain sentences.

Every check looks at the last quarter of what has been logged: a single line holds the figures of a single batch.
"""

from crcfp_jax.doctor.history import History
from crcfp_jax.methods.systems.definition import Term

VANISHED = 0.001  # of the pixels: the rarest class of BCSS still takes some per cent of them
PRESENT = 0.01  # of the pixels: enough cells of a class in every batch for pairs to be expected
COLLAPSED = 0.97  # of the pixels: nuclei images are about 78 % background, sparse tissue about 90 %
NO_POSITIVES = 0.001  # of the cells: healthy runs accept 10 to 30 %
NO_POSITIVES_OF_CLASS = 0.002  # of the class's own cells
BANK_FILLED = 0.75  # of the slots: those of unclear patches stay empty (CDCL), other methods fill all
SINGLE_CLASS = 0.99  # of the filled slots
NOTHING_CONFIDENT = 0.01  # of the pixels
ALL_CONFIDENT = 0.99  # of the pixels: the threshold then selects nothing
STUCK = 0.01  # a change of the agreement that counts as none
AGREED = 0.98  # of the pixels: little is left for the agreement to gain
DISAGREE = 0.7  # of the pixels: drawing classes by their frequency gives 66 % on nuclei images
IDENTICAL = 0.999  # of the pixels


def collapsed_class(run: History) -> str | None:
    """The class that nearly all unlabelled pixels are predicted as, if there is one."""
    shares = {name: run.mean(f"pseudo_labels/{name}", run.late) or 0.0 for name in run.class_names}
    name = max(shares, key=shares.__getitem__, default=None)
    return name if name is not None and shares[name] > COLLAPSED else None


def predictions_collapse(run: History) -> list[str]:
    """One class takes nearly all pseudo-labels."""
    name = collapsed_class(run)
    if name is None:
        return []
    key = f"pseudo_labels/{name}"
    since = run.since(key, lambda share: share > COLLAPSED)
    return [
        f"The predictions have collapsed to class {name} since step {since}: {percent(run.mean(key, run.late))} of the "
        f"unlabelled pixels are predicted as it. Try {_gentler(run)}."
    ]


def classes_vanish(run: History) -> list[str]:
    """A class is missing from the pseudo-labels; said by `predictions_collapse` where all but one are."""
    found = []
    for name in run.class_names if collapsed_class(run) is None else ():
        key, start = f"pseudo_labels/{name}", run.warmup + 1
        share = run.mean(key, run.late)
        if share is None or share >= VANISHED:
            continue
        most = max(run.values(key, start))
        if most >= VANISHED:
            since = run.since(key, lambda value: value < VANISHED)
            found.append(
                f"Class {name} has vanished from the pseudo-labels since step {since}: {percent(share)} of the "
                f"unlabelled pixels are predicted as it, up to {percent(most)} before. Try {_gentler(run)}."
            )
        else:
            beginning = " (the end of the supervised beginning)" if run.warmup else ""
            found.append(
                f"Class {name} has never appeared in the pseudo-labels since step {start}{beginning}: at most "
                f"{percent(most)} of the unlabelled pixels are predicted as it. See whether the labelled images show "
                f"it; try a greater {run.named('fraction')}, another {run.named('seed')}, or {_warmup(run)}."
            )
    return found


def no_positives(run: History) -> list[str]:
    """No pair of cells is accepted, or none of a class that the pseudo-labels hold."""
    key = "share/positive_pairs"
    share, contrast = run.mean(key, run.late), run.trained("bank")
    if share is None or contrast is None:
        return []
    if share < NO_POSITIVES:
        since = run.since(key, lambda value: value < NO_POSITIVES)
        return [
            f"No positive pairs have passed since step {since} (accepted: {percent(share)} of the cells), so the "
            f"contrast teaches nothing. Try {_lower(run, contrast.keys.get('accept'))}, or {_warmup(run)}."
        ]
    found = []
    for name in run.class_names:
        own, held = f"positives/{name}", run.mean(f"pseudo_labels/{name}", run.late)
        accepted = run.mean(own, run.late)
        if held is None or accepted is None or held < PRESENT or accepted >= NO_POSITIVES_OF_CLASS * held:
            continue
        since = run.since(own, lambda value, bound=NO_POSITIVES_OF_CLASS * held: value < bound)
        found.append(
            f"No positive pairs of class {name} have passed since step {since} (accepted: {percent(accepted)} of the "
            f"cells), although {percent(held)} of the unlabelled pixels are predicted as it, so the contrast teaches "
            f"nothing about it. Try {_lower(run, contrast.keys.get('accept'))}, or {_warmup(run)}."
        )
    return found


def bank_lacks_negatives(run: History) -> list[str]:
    """The bank has empty slots, or holds one class only."""
    filled, contrast = run.mean("share/bank_filled", run.late), run.trained("bank")
    if filled is None or contrast is None:
        return []
    found, negatives = [], contrast.keys["negatives"]
    if filled < BANK_FILLED:
        since = run.since("share/bank_filled", lambda value: value < BANK_FILLED)
        # Where cells are kept out of the bank, that leaves slots empty, not too few steps.
        lower = [_lower(run, key) for key in (contrast.keys.get("bank_accept", "contrastive.bank_steps"), negatives)]
        found.append(
            f"The memory bank has not been full since step {since}: {percent(filled)} of its slots hold a feature. "
            f"Try {' or '.join(lower)}."
        )
    for name in run.class_names:
        key, held = f"bank/{name}", run.mean(f"bank/{name}", run.late)
        if held is not None and held > SINGLE_CLASS * filled:
            since = run.since(key, lambda value: value > SINGLE_CLASS * filled)
            found.append(
                f"The memory bank has held nothing but class {name} since step {since} ({percent(held / filled)} of "
                f"its features), so cells predicted as {name} have no negatives of another class. Try {_gentler(run)}, "
                f"or a greater {run.named(negatives)}."
            )
    return found


def confidence_useless(run: History) -> list[str]:
    """The threshold lets nothing through, or everything from early on while the classifiers agree no better."""
    key, start = "share/confident", run.warmup + 1
    share, threshold = run.mean(key, run.late), run.setting(run.method.confidence)
    if share is None:
        return []
    if share < NOTHING_CONFIDENT and any(_selects(run, term) for term in run.unlabelled_terms):
        since = run.since(key, lambda value: value < NOTHING_CONFIDENT)
        return [
            f"Hardly any prediction has been confident since step {since}: {percent(share)} of the unlabelled pixels "
            f"have a class above {threshold}. Try {_lower(run, run.method.confidence)}, or more steps, "
            f"{run.named('train.steps')}."
        ]
    early = start + (run.last - start) // 4
    confident, before = (run.mean(name, start, early) for name in (key, "share/agreement"))
    now = run.mean("share/agreement", run.late)
    if None in (confident, before, now) or run.trained("perturbations") is None:
        return []
    if min(share, confident) <= ALL_CONFIDENT or now > AGREED or abs(now - before) > STUCK:
        return []
    return [
        f"Nearly every prediction has been confident since step {start} ({percent(share)} of the unlabelled pixels "
        f"above {threshold}), yet the auxiliary classifiers agree with it no more often than then ({percent(now)}, "
        f"{percent(before)} at first): it may be sure of what is wrong. Try {_gentler(run)}."
    ]


def auxiliary_classifiers(run: History) -> list[str]:
    """The auxiliary classifiers disagree with the main one, or have never differed from it."""
    key, start = "share/agreement", run.warmup + 1
    share, term = run.mean(key, run.late), run.trained("perturbations")
    if share is None or term is None:
        return []
    kinds = run.named(term.keys["perturbations"])
    if share < DISAGREE:
        since = run.since(key, lambda value: value < DISAGREE)
        return [
            f"The auxiliary classifiers have disagreed with the main one since step {since}: they name the same class "
            f"on only {percent(share)} of the unlabelled pixels. Try a greater "
            f"{run.named(term.weight)}, or fewer {kinds}."
        ]
    if collapsed_class(run) is None and min(run.values(key, start)) > IDENTICAL:
        return [
            f"The auxiliary classifiers have never differed from the main one since step {start}: they name the same "
            f"class on {percent(share)} of the unlabelled pixels, so consistency teaches little. Try other {kinds}."
        ]
    return []


def percent(share: float) -> str:
    """A share in [0, 1] as text: two figures below 1 %, more where rounding would claim all."""
    value = 100 * share
    if value < 1:
        return f"{value:.2g} %"
    return f"{value:.2f} %" if 99.5 < value < 100 else f"{value:.1f} %"


def _selects(run: History, term: Term) -> bool:
    """Whether the term lets a prediction count by the confidence that is reported."""
    return term.keys.get("accept") == run.method.confidence


def _warmup(run: History) -> str:
    return f"a longer supervised beginning, {run.named('weights.warmup')}"


def _gentler(run: History) -> str:
    """What gives wrong pseudo-labels less to say, or where they teach nothing, what makes better ones."""
    if not run.unlabelled_terms:
        return f"a greater {run.named('fraction')} or another {run.named('seed')}"
    weights = " or ".join(run.named(term.weight) for term in run.unlabelled_terms)
    return f"{_warmup(run)}, or a lower {weights}"


def _lower(run: History, key: str | None) -> str:
    """A lower value of what lets more pass, or where no setting does, more steps."""
    return f"more steps, {run.named('train.steps')}" if key is None else f"a lower {run.named(key)}"
