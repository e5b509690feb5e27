"""What can go wrong with the training of a run, whatever its method, told in plain sentences."""

import math
import statistics

from crcfp_jax.doctor.history import History
from crcfp_jax.methods.systems.definition import SUPERVISED, Term

ROSE = 1.5  # times its mean over the third quarter: the contrast of healthy runs comes and goes by less
ERRORS = 3.0  # standard errors of the difference: batches differ; chance alone passes this in one of a thousand runs
EXPLODED = 20.0  # times the median: single batches of healthy runs reach 10
WAITED = 0.1  # of the time: to save less is not worth a change


def loss_rose(run: History) -> list[str]:
    """The supervised or the total loss is higher in the last quarter of the steps than in the third."""
    middle = run.last - run.last // 4
    found = []
    for name, unlike_before in (("supervised", 0), ("total", run.ramped)):
        start = max(run.last // 2, unlike_before) + 1
        before, after = (run.values(f"loss/{name}", *part) for part in ((start, middle), (middle + 1, run.last)))
        if not _rose(before, after) or (name == "total" and not run.unlabelled_terms):
            continue
        change = f"{statistics.fmean(before):.3g} on average over steps {start}-{middle}, {statistics.fmean(after):.3g}"
        grown = _grown(run, start, middle) if name == "total" else None
        remedy = f"a lower {run.named('optimizer.learning_rate')}"
        if grown is not None:
            remedy += f" or, as the {grown.name.replace('_', ' ')} term grew most, a lower {run.named(grown.weight)}"
        found.append(f"The {name} loss has risen since step {middle}: {change} after. Try {remedy}.")
    return found


def gradients_exploded(run: History) -> list[str]:
    """The greatest gradient norm of the last span is far above the run's median."""
    span = run.spans[-1]
    points = run.points("gradient_norm", span.first, span.last)
    if not points:
        return []
    typical = statistics.median(run.values("gradient_norm"))
    step, greatest = max(points, key=lambda point: point[1])
    if greatest <= EXPLODED * typical:
        return []
    since = next(at for at, value in points if value > EXPLODED * typical)
    return [
        f"The gradients have exploded since step {since}: a norm of {greatest:.3g} at step {step}, where {typical:.3g} "
        f"is typical of the run. Try a lower {run.named('optimizer.learning_rate')}."
    ]


def waits_for_input(run: History) -> list[str]:
    """The devices stand idle for want of batches."""
    share = run.mean("input_wait", run.late)
    if share is None or share < WAITED:
        return []
    since = run.since("input_wait", lambda value: value >= WAITED)
    return [
        f"Training has waited for input since step {since}: {100 * share:.0f} % of its time no batch was ready. Try a "
        f"greater {run.named('data.threads')}; where every core is busy, a smaller {run.named('data.side')} or smaller "
        f"stored tiles; where the disk is, a faster one for {run.named('data.dir')}."
    ]


def _rose(before: list[float], after: list[float]) -> bool:
    if min(len(before), len(after)) < 2:
        return False
    error = math.sqrt(sum(statistics.variance(part) / len(part) for part in (before, after)))
    old, new = statistics.fmean(before), statistics.fmean(after)
    return new > ROSE * old and new - old > ERRORS * error


def _grown(run: History, start: int, middle: int) -> Term | None:
    """The unlabelled term whose weighted mean grew the most; None where the supervised one did, or none."""
    greatest, found = 0.0, None
    for term in (SUPERVISED, *run.unlabelled_terms):
        weight, key = run.setting(term.weight), f"loss/{term.name}"
        before, after = run.mean(key, start, middle), run.mean(key, middle + 1)
        if None not in (weight, before, after) and weight * (after - before) > greatest:
            greatest, found = weight * (after - before), term
    return None if found is SUPERVISED else found
