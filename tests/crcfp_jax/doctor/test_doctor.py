"""The run doctor: spans and means by hand, each warning and its absence, the report, the command."""

import copy
import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_metrics
from crcfp_jax.doctor.diagnosis import MIN_LINES, examine
from crcfp_jax.doctor.folder import diagnose, write_report
from crcfp_jax.doctor.history import History, Span, in_order
from crcfp_jax.doctor.render import show, to_markdown

NAMES = ["tumour", "stroma", "fat"]
SETTINGS = {
    "method": "crcfp",
    "fraction": "1/8",
    "seed": 1,
    "weights": {"supervised": 1.0, "contrastive": 0.1, "cross_consistency": 0.01, "entropy": 0.01, "warmup": 0.2},
    "contrastive": {"threshold": 0.75, "negatives": 1200, "bank_steps": 2},
    "cross_consistency": {"perturbations": ["feature_noise"]},
    "cct": {"weight": 30.0, "ramp_up": 0.5, "perturbations": ["vat", "dropout"]},
    "cdcl": {"cross_patch": 0.1, "teacher_consistency": 1.0, "entropy": 0.01, "clear": 0.75, "ramp_up": 0.1},
    "optimizer": {"learning_rate": 0.001},
    "data": {"name": "synthetic", "dir": "data", "side": 320, "threads": 2},
    "train": {"steps": 400, "log_every": 10},
}
HEALTHY = {
    "gradient_norm": 2.0,
    "loss/supervised": 0.5,
    "loss/contrastive": 4.0,
    "loss/cross_consistency": 0.01,
    "loss/entropy": 0.6,
    "loss/total": 1.0,
    "share/confident": 0.7,
    "entropy": 0.6,
    "share/agreement": 0.95,
    "share/positive_pairs": 0.2,
    "share/bank_filled": 1.0,
    **{f"{kind}/tumour": share for kind, share in (("pseudo_labels", 0.5), ("positives", 0.1), ("bank", 0.5))},
    **{f"{kind}/stroma": share for kind, share in (("pseudo_labels", 0.3), ("positives", 0.06), ("bank", 0.3))},
    **{f"{kind}/fat": share for kind, share in (("pseudo_labels", 0.2), ("positives", 0.04), ("bank", 0.2))},
    "confident/tumour": 0.4,
    "confident/stroma": 0.15,
    "confident/fat": 0.15,
}
RESULT = {
    "mean_iou": 61.25,
    "mean_dice": 74.0,
    "accuracy": 80.0,
    "per_class": {
        "tumour": {"iou": 70.0, "dice": 82.0, "precision": 80.0, "recall": 84.04, "support": 10},
        "fat|water": {"iou": None, "dice": None, "precision": None, "recall": None, "support": 0},
    },
    "selection": "best_validation",
    "step": 300,
}


def run(changes=(), *, last=400, **settings):
    """Lines at steps 10, 20, ... of a healthy run, but that `changes` gives (from step on, {key: value}, ...)."""
    rows = []
    for step in range(10, last + 1, 10):
        rows.append({"step": step, **HEALTHY})
        for start, values in changes:
            rows[-1] |= values if step >= start else {}
    return examine(rows, NAMES, changed(**settings))


def changed(**settings):
    """`SETTINGS` with `weights__entropy=0` and the like."""
    result = copy.deepcopy(SETTINGS)
    for key, value in settings.items():
        *parents, name = key.split("__")
        place = result
        for parent in parents:
            place = place[parent]
        place[name] = value
    return result


def only(diagnosis, *parts):
    """The single warning of a diagnosis, which has to hold these parts."""
    (warning,) = diagnosis.warnings
    for part in parts:
        assert part in warning
    return warning


HALF_FILLED = {"share/bank_filled": 0.5, "bank/tumour": 0.25, "bank/stroma": 0.15, "bank/fat": 0.1}


def pseudo_labels(tumour, stroma, fat):
    return {"pseudo_labels/tumour": tumour, "pseudo_labels/stroma": stroma, "pseudo_labels/fat": fat}


def test_a_healthy_run_has_no_warnings():
    diagnosis = run()
    assert diagnosis.warnings == diagnosis.notes == []
    assert (diagnosis.step, diagnosis.total) == (400, 400)


def test_spans_are_cut_at_the_end_of_the_supervised_beginning():
    def spans(steps, **settings):
        return History([{"step": step} for step in steps], NAMES, changed(**settings)).spans

    assert spans(range(10, 401, 10), weights__warmup=0.0) == [Span(1 + a, 50 + a, False) for a in range(0, 400, 50)]
    assert spans(range(10, 401, 10), weights__warmup=0.1) == [
        Span(1, 40, True),
        Span(41, 91, False),
        Span(92, 143, False),
        Span(144, 194, False),
        Span(195, 246, False),
        Span(247, 297, False),
        Span(298, 349, False),
        Span(350, 400, False),
    ]
    assert spans([10, 20, 30, 40]) == [Span(1 + a, 10 + a, True) for a in range(0, 40, 10)]
    assert spans([50, 100], weights__warmup=0.2) == [Span(1, 80, True), Span(81, 100, False)]
    assert spans([100]) == [Span(81, 100, False)]
    assert spans([]) == []
    # The supervised beginning of the supervised method is all of it, so none is marked.
    assert not any(span.supervised_only for span in spans(range(10, 401, 10), method="supervised"))


def test_means_over_spans_by_hand():
    rows = [
        {"step": 1, "loss/total": 8.0, "loss/supervised": 8.0},
        {"step": 10, "loss/total": 4.0, "loss/supervised": None},
        {"step": 20, "loss/total": 2.0, "pseudo_labels/fat": 0.2, "confident/fat": 0.05},
        {"step": 20, "validation/mean_iou": 40.0},
        {"step": 30, "loss/total": 1.0, "pseudo_labels/fat": 0.4, "confident/fat": 0.25},
    ]
    diagnosis = examine(rows, ["fat"], changed(train__steps=30, weights__warmup=1 / 3))
    assert diagnosis.spans == [Span(1, 10, True), Span(11, 17, False), Span(18, 23, False), Span(24, 30, False)]
    rows = {row.label: row.values for section in diagnosis.over_time for row in section.rows}
    assert rows == {
        "supervised": [8.0, None, None, None],
        "total": [6.0, None, 2.0, 1.0],
        "validation mIoU": [None, None, 40.0, None],
    }
    sections = {section.title: section.rows[0].values for section in diagnosis.per_class}
    assert sections == {"Pseudo-labels": [None, None, 0.2, 0.4], "Confidence": [None, None, 0.25, 0.625]}


def test_a_resumed_run_counts_its_last_lines():
    rows = [{"step": 10, "a": 1}, {"step": 20, "a": 1}, {"step": 20, "b": 1}, {"step": 30, "a": 1}]
    assert in_order([*rows, {"step": 20, "a": 2}, {"step": 25, "a": 2}]) == [
        {"step": 10, "a": 1},
        {"step": 20, "a": 2},
        {"step": 25, "a": 2},
    ]
    assert in_order([*rows, {"step": 30, "a": 2}])[1:] == [{"step": 20, "a": 1, "b": 1}, {"step": 30, "a": 2}]


def test_a_class_vanishes():
    warning = only(run([(250, pseudo_labels(0.6, 0.3999, 0.0001)), (0, {"positives/fat": 0.04})]))
    assert warning == (
        "Class fat has vanished from the pseudo-labels since step 250: 0.01 % of the unlabelled pixels are predicted "
        "as it, up to 20.0 % before. Try a longer supervised beginning, config.weights.warmup (now 0.2), or a lower "
        "config.weights.contrastive (now 0.1) or config.weights.cross_consistency (now 0.01) or config.weights.entropy "
        "(now 0.01)."
    )
    assert run([(250, pseudo_labels(0.6, 0.398, 0.002))]).warnings == []  # rare, not gone
    assert run([(200, pseudo_labels(0.7, 0.3, 0.0)), (320, pseudo_labels(0.5, 0.3, 0.2))]).warnings == []  # came back


def test_a_class_never_appears():
    diagnosis = run([(80, pseudo_labels(0.7, 0.3, 0.0))])  # it was there at step 80, the last of the beginning
    assert run([(90, pseudo_labels(0.7, 0.3, 0.0))]).warnings == diagnosis.warnings
    only(diagnosis, "Class fat has never appeared", "since step 81", "at most 0 %", "config.fraction (now 1/8)")
    only(run([(0, pseudo_labels(0.7, 0.3, 0.0))], weights__warmup=0.0), "since step 1: at most 0 %")


def test_predictions_collapse():
    diagnosis = run([(210, pseudo_labels(0.99, 0.01, 0.0))])
    only(diagnosis, "collapsed to class tumour since step 210: 99.0 % of", "config.weights.warmup (now 0.2)")
    assert run([(210, pseudo_labels(0.78, 0.2, 0.02))]).warnings == []


def test_what_is_advised_where_the_unlabelled_terms_do_not_count():
    zero = {"weights__contrastive": 0.0, "weights__cross_consistency": 0.0, "weights__entropy": 0.0}
    only(run([(210, pseudo_labels(0.99, 0.01, 0.0))], **zero), "Try a greater config.fraction (now 1/8) or another")


def test_no_positives_pass():
    none = {"share/positive_pairs": 0.0, **{f"positives/{name}": 0.0 for name in NAMES}}
    only(
        run([(200, none)]),
        "No positive pairs have passed since step 200 (accepted: 0 % of the cells)",
        "a lower config.contrastive.threshold (now 0.75)",
    )
    assert run([(200, none)], weights__contrastive=0.0).warnings == []
    assert run([(0, none), (310, HEALTHY)]).warnings == []


def test_no_positives_of_one_class_pass():
    only(
        run([(220, {"positives/fat": 0.0001})]),
        "No positive pairs of class fat have passed since step 220 (accepted: 0.01 % of the cells), although 20.0 %",
    )
    assert run([(220, {"positives/fat": 0.001})]).warnings == []
    assert run([(0, {"positives/fat": 0.0, **pseudo_labels(0.7, 0.295, 0.005)})]).warnings == []  # hardly held


def test_cdcl_is_advised_in_its_own_settings():
    terms = {"loss/cross_patch": 3.0, "loss/teacher_consistency": 0.1}
    dropped = {"loss/contrastive": None, "loss/cross_consistency": None, "share/agreement": None}
    base = (0, terms | dropped)
    assert run([base], method="cdcl").warnings == []
    only(run([base, (0, {"share/positive_pairs": 0.0})], method="cdcl"), "a lower config.cdcl.clear (now 0.75)")
    only(run([base, (0, HALF_FILLED)], method="cdcl"), "config.cdcl.clear", "50.0 % of its slots")
    (warning,) = run([base, (0, HALF_FILLED)], method="cdcl").warnings
    assert "cdcl.negatives" in warning and "config.contrastive" not in warning
    only(run([base, (0, pseudo_labels(1.0, 0, 0))], method="cdcl"), "config.cdcl.teacher_consistency (now 1.0)")
    assert run([base, (0, {"share/confident": 0.0})], method="cdcl").warnings == []  # its patches have their own rule


def test_the_bank_is_not_filled():
    only(run([(0, HALF_FILLED)]), "since step 90: 50.0 %", "config.contrastive.bank_steps (now 2)")
    assert run([(0, HALF_FILLED), (200, HEALTHY)]).warnings == []


def test_the_bank_holds_one_class():
    held = {"bank/tumour": 1.0, "bank/stroma": 0.0, "bank/fat": 0.0}
    only(run([(150, held)]), "held nothing but class tumour since step 150", "config.contrastive.negatives (now 1200)")
    assert run([(150, held | {"bank/tumour": 0.97, "bank/fat": 0.03})]).warnings == []
    assert run([(150, held)], weights__contrastive=0.0).warnings == []


def test_nothing_is_confident():
    only(run([(170, {"share/confident": 0.004})]), "confident since step 170: 0.4 % of", "config.train.steps (now 400)")
    assert run([(170, {"share/confident": 0.02})]).warnings == []
    assert run([(170, {"share/confident": 0.004})], weights__contrastive=0.0).warnings == []


def test_all_is_confident_while_the_classifiers_agree_no_better():
    sure = {"share/confident": 0.996, "share/agreement": 0.9}
    only(run([(0, sure)]), "confident since step 81 (99.60 %", "(90.0 %, 90.0 % at first)")
    assert run([(0, sure), (200, {"share/agreement": 0.95})]).warnings == []  # they agree better
    assert run([(0, sure | {"share/agreement": 0.985})]).warnings == []  # they agree
    assert run([(200, sure)]).warnings == []  # not from early on
    assert run([(0, sure | {"share/agreement": None})]).warnings == []


def test_the_auxiliary_classifiers_disagree():
    low = {"share/agreement": 0.55}
    only(run([(260, low)]), "since step 260", "only 55.0 %", "a greater config.weights.cross_consistency (now 0.01)")
    assert run([(0, low), (200, {"share/agreement": 0.8})]).warnings == []
    assert run([(260, low)], weights__cross_consistency=0.0).warnings == []
    only(
        run([(260, low)], method="cct"),
        "config.cct.weight (now 30.0)",
        "fewer config.cct.perturbations (now vat, dropout)",
    )


def test_the_auxiliary_classifiers_never_differ():
    same = {"share/agreement": 0.9999}
    only(run([(90, same)]), "never differed from the main one since step 81", "99.99 %")
    assert run([(100, same)]).warnings == []
    only(run([(90, same | pseudo_labels(1.0, 0.0, 0.0))]), "collapsed")  # they can't differ then


def test_the_loss_rises():
    warning = only(run([(310, {"loss/supervised": 0.8})]))
    assert warning == (
        "The supervised loss has risen since step 300: 0.5 on average over steps 201-300, 0.8 after. Try a lower "
        "config.optimizer.learning_rate (now 0.001)."
    )
    only(
        run([(310, {"loss/total": 1.9, "loss/contrastive": 9.0})]),
        "The total loss has risen since step 300",
        "as the contrastive term grew most, a lower config.weights.contrastive (now 0.1)",
    )
    assert run([(310, {"loss/supervised": 0.7})]).warnings == []
    assert run([(400, {"loss/supervised": 9.0})]).warnings == []  # a single batch
    assert run([(310, {"loss/total": 1.9})], method="cct", weights__warmup=0.4).warnings == []  # its weight still grows


def test_the_gradients_explode():
    only(
        run([(380, {"gradient_norm": 50.0}), (390, {"gradient_norm": 90})]), "since step 380: a norm of 90 at step 390"
    )
    assert run([(390, {"gradient_norm": 30.0})]).warnings == []


def test_input_is_waited_for():
    warning = only(run([(0, {"input_wait": 0.02}), (310, {"input_wait": 0.4})]))
    assert warning == (
        "Training has waited for input since step 301: 40 % of its time no batch was ready. Try a greater "
        "config.data.threads (now 2); where every core is busy, a smaller config.data.side (now 320) or smaller stored "
        "tiles; where the disk is, a faster one for config.data.dir (now data)."
    )
    assert run([(0, {"input_wait": 0.02}), (390, {"input_wait": 0.4})]).warnings == []  # 5.8 % of the last quarter
    assert "| input wait, % | 2.0 |" in to_markdown(run([(0, {"input_wait": 0.02})]), "a")


@pytest.mark.parametrize("last", [80, 80 + 10 * (MIN_LINES - 1)])
def test_nothing_is_judged_before_there_is_enough(last):
    diagnosis = run([(0, pseudo_labels(1.0, 0.0, 0.0))], last=last)
    assert diagnosis.warnings == []
    assert diagnosis.notes[0] == f"The run is not finished: step {last} of 400."
    expected = "up to step 80 only the supervised loss counts" if last == 80 else "19 steps after the supervised"
    assert diagnosis.notes[1].startswith("Nothing is judged yet: ")
    assert expected in diagnosis.notes[1]
    assert len(diagnosis.spans) == 8
    assert len(run([(0, pseudo_labels(1.0, 0.0, 0.0))], last=last + 10 * MIN_LINES).warnings) == 1


def test_a_short_finished_run_is_told_how_to_log_more():
    (note,) = run(last=60, train__steps=60).notes
    assert note.endswith("20 are needed. Try a lower config.train.log_every (now 10).")


def test_without_the_newer_figures():
    kept = ("step", "loss/", "share/positive", "share/confident", "share/bank", "pseudo_labels/", "gradient_norm")
    rows = [{"step": step, **HEALTHY} for step in range(10, 401, 10)]
    old = [{key: value for key, value in row.items() if key.startswith(kept)} for row in rows]
    diagnosis = examine(old, NAMES, {key: SETTINGS[key] for key in SETTINGS if key not in ("cct", "cdcl")})
    assert diagnosis.warnings == diagnosis.notes == []
    assert [section.title for section in diagnosis.per_class] == ["Pseudo-labels"]
    assert examine([], NAMES, SETTINGS).over_time == []


def test_supervised_has_losses_only():
    rows = [{"step": s, "loss/supervised": 0.5, "loss/total": 0.5, "gradient_norm": 1.0} for s in range(10, 401, 10)]
    diagnosis = examine(rows, NAMES, changed(method="supervised"))
    assert [section.title for section in diagnosis.over_time] == ["Losses"]
    assert diagnosis.per_class == diagnosis.warnings == []
    for row in rows[30:]:
        row |= {"loss/supervised": 1.0, "loss/total": 1.0}
    only(examine(rows, NAMES, changed(method="supervised")), "The supervised loss has risen")


def test_markdown():
    diagnosis = run([(250, pseudo_labels(0.6, 0.3999, 0.0001))])
    text = to_markdown(diagnosis, "crcfp, synthetic 1/8, seed 1", RESULT)
    lines = text.splitlines()
    assert lines[0] == "# crcfp, synthetic 1/8, seed 1"
    assert "**Test, best validation checkpoint (step 300): mIoU 61.2, Dice 74.0, accuracy 80.0**" in lines
    assert any(line.startswith("- **Warning:** Class fat has vanished from the pseudo-labels") for line in lines)
    assert "config.weights.cross\\_consistency" in text
    assert "| tumour | 70.0 | 82.0 | 80.0 | 84.0 |" in lines
    assert "| fat\\|water | - | - | - | - |" in lines
    assert "| up to step | 40† | 80† | 133 | 187 | 240 | 293 | 347 | 400 |" in lines
    assert "| contrastive | 4.00 | 4.00 | 4.00 | 4.00 | 4.00 | 4.00 | 4.00 | 4.00 |" in lines
    assert "| agreement, % | 95.0 | 95.0 | 95.0 | 95.0 | 95.0 | 95.0 | 95.0 | 95.0 |" in lines
    assert "| fat | 20.0 | 20.0 | 20.0 | 20.0 | 20.0 | <0.1 | <0.1 | <0.1 |" in lines
    assert "| tumour | 80.0 | 80.0 | 80.0 | 80.0 | 80.0 | 66.7 | 66.7 | 66.7 |" in lines  # confident: 0.4 of 0.6
    assert "- entropy: how undecided a prediction is: 0 is certain, 1.10 is a guess" in lines
    plain = to_markdown(run(), "a")
    assert "\nNo warnings.\n" in plain
    assert "Result" not in plain


@pytest.mark.parametrize(
    ("value", "text"), [(123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123"), (0.00123, "0.0012")]
)
def test_figures_are_short(value, text):
    rows = [{"step": step, "loss/total": value} for step in (1, 2)]
    assert f"| total | {text} | {text} |" in to_markdown(examine(rows, [], SETTINGS), "a")


def test_the_terminal_shows_all_in_eighty_columns():
    console = Console(file=io.StringIO(), width=80)
    show(run([(250, pseudo_labels(0.6, 0.4, 0.0))]), "[bold]crcfp", RESULT, console)
    text = console.file.getvalue()
    assert "[bold]crcfp" in text
    assert "warning  Class fat has vanished" in text
    words = [line.split() for line in text.splitlines()]
    assert ["cross-consistency", *["0.010"] * 8] in words
    assert ["fat", *["20.0"] * 5, *["0.0"] * 3] in words
    assert max(map(len, text.splitlines())) <= 80


def write_run(folder, rows, result=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_the_report_of_a_folder(tmp_path):
    rows = [{"step": step, **HEALTHY, **pseudo_labels(0.6, 0.4, 0.0)} for step in range(10, 401, 10)]
    diagnosis = write_report(write_run(tmp_path / "run", rows))
    only(diagnosis, "Class fat has never appeared")
    text = (tmp_path / "run" / "report.md").read_text()
    assert text.startswith("# crcfp, synthetic 1/8, seed 1\n\n- **Warning:** Class fat has never")
    assert sorted(os.listdir(tmp_path / "run")) == ["config.json", "metrics.jsonl", "report.md"]
    write_run(tmp_path / "run", rows, RESULT)
    write_report(tmp_path / "run", ["stroma", "tumour"])
    text = (tmp_path / "run" / "report.md").read_text()
    assert "mIoU 61.2" in text
    assert text.index("\n| stroma | 40.0 |") < text.index("\n| tumour | 60.0 |")


@pytest.mark.parametrize("end", ['{"step": 20, "lo', '{"step": 20}', "\0\0"])
def test_a_last_line_without_its_end_is_left_out(tmp_path, end):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10}\n' + end)
    assert list(read_metrics(tmp_path / "metrics.jsonl")) == [{"step": 10}]


def test_other_damage_is_named(tmp_path):
    folder = write_run(tmp_path / "run", [{"stop": 1}, {"step": 2}])
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 1 is damaged; delete that line"):
        diagnose(folder)
    write_run(folder, [{"step": 2}])
    (folder / "config.json").write_text('{"method": "crcfp"}')
    with pytest.raises(UserError, match=r"config\.json is damaged \(fraction is missing\): delete or restore it"):
        diagnose(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"cannot read .*config\.json"):
        diagnose(folder)


def command(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "nowhere", "COLUMNS": "100"}  # a device would be an error
    line = [sys.executable, "-W", "error", "-m", "crcfp_jax.doctor", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60)


def test_the_command(tmp_path):
    sick = [{"step": step, **HEALTHY, **pseudo_labels(1.0, 0.0, 0.0)} for step in range(10, 401, 10)]
    runs = [write_run(tmp_path / "a", sick, RESULT), write_run(tmp_path / "b", sick[:5])]
    done = command(*runs)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The predictions have collapsed to class tumour since step 90" in done.stdout
    assert "The run is not finished: step 50 of 400." in done.stdout
    missing = command(runs[0], tmp_path / "c")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == (
        f"error: {tmp_path / 'c'} is not a run folder (no metrics.jsonl): give the --workdir of a run\n"
    )


DATA = {
    "microns_per_pixel": 0.5,
    "labelled_patients": 6,
    "classes": [
        {"name": "tumour", "mm2": 4.25, "tiles": 30, "patients": 6},
        {"name": "stroma", "mm2": 2.0, "tiles": 20, "patients": 5},
        {"name": "fat", "mm2": 0.001, "tiles": 1, "patients": 1},
    ],
}


def test_a_class_with_little_annotation_is_named_from_the_first_line_on():
    diagnosis = examine([{"step": 10, **HEALTHY}], NAMES, SETTINGS, DATA)
    only(diagnosis, "Class fat has little annotation: 0.001 mm² (4,000 pixels of 0.5 µm), 1 tile, 1 of 6 patients.")
    assert examine([], NAMES, SETTINGS).annotated == []


def test_what_is_annotated_is_in_the_report():
    diagnosis = examine([{"step": 10, **HEALTHY}], NAMES, SETTINGS, DATA)
    text = to_markdown(diagnosis, "title")
    assert "## Annotated" in text and "| tumour | 4.25 | 30 | 6 |" in text and "| fat | 0.001 | 1 | 1 |" in text
    console = Console(file=io.StringIO(), width=80)
    show(diagnosis, "title", console=console)
    assert "Annotated" in console.file.getvalue() and "4.25" in console.file.getvalue()
    assert "Annotated" not in to_markdown(run(), "title")


def test_the_folder_tells_what_is_annotated(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 10, **HEALTHY}) + "\n")
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    (tmp_path / "data.json").write_text(json.dumps(DATA))
    diagnosis, _, _ = diagnose(tmp_path)
    assert [row.name for row in diagnosis.annotated] == NAMES
    assert any("Class fat" in warning for warning in diagnosis.warnings)
