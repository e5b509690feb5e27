"""README.md of a model folder: its card in words, for people who never saw the training."""

import html
from collections.abc import Mapping
from typing import Any

from crcfp_jax.portable_model.card import ARTIFACT, KNOWN, ONNX, PARAMETERS, side_step
from crcfp_jax.portable_model.card_usage import usage

_FAMILIES = {"v3": "DeepLab-v3", "v3plus": "DeepLab-v3+"}
_SELECTIONS = {"last": "the last one", "best_validation": "the best on the validation split"}


def card_text(card: Mapping[str, Any]) -> str:
    """Markdown of a complete card."""
    sections = (_introduction, _classes, usage, _inputs, _outputs, _training, _figures, _licence, _files)
    return "\n\n".join(section(card) for section in sections) + "\n"


def _introduction(card: Mapping[str, Any]) -> str:
    classes, data = len(card["classes"]), card["data"]
    stem = f"{card['width']} channels in its stem, " if card["width"] else ""
    return f"""# {card["name"]}

Segments H&E histology into {classes} classes, pixel by pixel. {_FAMILIES[card["decoder"]]} on {card["backbone"]} \
({stem}output stride {card["output_stride"]}, {card["decoder_width"]} features), trained on {data["name"]} with the \
method `{card["method"]}` of crcfp-jax: labels of {data["fraction"]} of the training {data["split_unit"]}s, seed \
{data["seed"]}, step {card["step"]}.

**Intended use.** {card["intended_use"]}"""


def _classes(card: Mapping[str, Any]) -> str:
    rows = [
        f"| {number} | {_cell(entry['name'])} | `#{bytes(entry['colour']).hex()}` |"
        for number, entry in enumerate(card["classes"])
    ]
    return "\n".join(["## Classes", "", "| number | name | colour |", "|---|---|---|", *rows])


def _cell(name: str) -> str:
    """A name in a table of Markdown, where some letters would mean something."""
    return html.escape(" ".join(name.split()), quote=False).replace("|", "\\|")


def _inputs(card: Mapping[str, Any]) -> str:
    data = card["data"]
    stored = " to ".join(f"{size:g}" for size in sorted({data["finest_microns_per_pixel"], data["microns_per_pixel"]}))
    mean, deviation = (", ".join(map(str, card["normalisation"][key])) for key in ("mean", "deviation"))
    return f"""## What goes in

- uint8 RGB `[batch, height, width, 3]`, 0 to 255. The model normalises by itself (mean {mean}; deviation {deviation} \
of values from 0 to 1).
- **{card["microns_per_pixel"]:.3g} µm per pixel**: the training images, of {stored} µm per pixel, were scaled to it. \
Average over areas to shrink an image, interpolate bilinearly to enlarge one.
- Height and width in multiples of {side_step(card)} pixels (of other sizes the result lies up to half as many \
beside the image), best **windows of {card["window"]} pixels**, overlapping by {card["overlap"]:.0%}: the \
training crop's extent. One branch pools the whole image that it is given, and has never seen a larger one."""


def _outputs(card: Mapping[str, Any]) -> str:
    lines = [
        "## What comes out",
        "",
        f"- `probabilities`, float32 `[batch, height, width, {len(card['classes'])}]`, interpolated from features that "
        f"lie {card['stride']} pixels apart.",
    ]
    if card["uncertainty"]:
        lines.append(
            f"- `uncertainty`, float32 `[batch, height, width]`, from 0 to 1: how far the {card['classifiers']} "
            "classifiers of the model disagree (how often two of them, each drawing a class by its own probabilities, "
            "draw different ones; 1 where nothing is known). "
            "It is not calibrated, and small where all are wrong together."
        )
    if card["embedding"]:
        lines.append(
            f"- `embedding`, float32 `[batch, features]`, of length 1: how alike two images are to the network "
            f"(`{KNOWN}` has those of what it was trained on). Not in `{ONNX}`."
        )
    agreement = card["agreement"]
    for form, differences in agreement["differences"].items():
        figures = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
        lines.append(f"- `{form}` against the trained network, {agreement['images']}: at most {figures} apart (CPU).")
    if agreement["training_dtype"]:
        name, differences = next(iter(agreement["training_dtype"].items()))
        lines.append(
            f"- It was trained in {name}; the exported forms compute in float32, which changes probabilities on these "
            f"images by at most {differences['probabilities']:.1e}."
        )
    lines.append("- GPUs and TPUs round the factors of products by default (TF32, bfloat16): expect differences there.")
    return "\n".join(lines)


def _training(card: Mapping[str, Any]) -> str:
    data = card["data"]
    rows = [
        f"| {part} | {count} | {', '.join(data['hospitals'][part])} |" for part, count in data["tiles"].items() if count
    ]
    taught = " The parameters are the mean teacher's." if card["inference_model"] == "teacher" else ""
    start = f"pretrained weights `{card['pretrained']}`" if card["pretrained"] else "random weights"
    return "\n".join(
        [
            "## Training",
            "",
            f"Data set {data['name']} (fingerprint `{data['fingerprint']}`), labelled by {data['split_unit']}. "
            f"From {start}; normalisation layers: {card['normalisation_layers']}, {card['inference_statistics']} "
            f"statistics.{taught}",
            "",
            "| part | tiles | hospitals |",
            "|---|---|---|",
            *rows,
            "",
            f"SHA-256 of the split: `{data['split_hash']}`",
        ]
    )


def _figures(card: Mapping[str, Any]) -> str:
    metrics, data, tested = card["metrics"], card["data"], _cross_validated(card)
    if metrics is None:
        return f"## Figures\n\n{tested}None on test images: the data set has none of its own."
    rows = [
        f"| {_cell(name)} | " + " | ".join(_figure(row[key]) for key in ("iou", "dice", "precision", "recall")) + " |"
        for name, row in metrics["per_class"].items()
    ]
    return "\n".join(
        [
            "## Figures",
            "",
            f"{tested}On the {metrics['images']} test tiles of {data['name']}, every labelled pixel once; of the run's "
            f"checkpoints {_SELECTIONS[card['selection']]}. **They hold for these images only**: other hospitals, "
            "stains, scanners and tissues can be far worse. Look at pictures of your own before you count.",
            "",
            "| class | IoU | Dice | precision | recall |",
            "|---|---|---|---|---|",
            *rows,
            f"| **mean** | **{_figure(metrics['mean_iou'])}** | **{_figure(metrics['mean_dice'])}** | | |",
            "",
            f"In percent. Accuracy {_figure(metrics['accuracy'])}.",
        ]
    )


def _cross_validated(card: Mapping[str, Any]) -> str:
    """On models of the same settings, tested on patients that they had not seen; empty without such figures."""
    tested = card.get("crossvalidation")
    if tested is None:
        return ""
    figures = []
    for name, word in (("mean_iou", "mIoU"), ("mean_dice", "Dice")):
        ends = tested["intervals"][name]
        reach = f" ({tested['level']:.0%} interval {ends[0]:.1f} to {ends[1]:.1f})" if ends else ""
        figures.append(f"{word} {_figure(tested[name])}{reach}")
    return (
        f"Cross-validated: {', '.join(figures)}. Of {tested['folds']} models of the same settings, each of the "
        f"{tested['patients']} annotated patients was tested by one that had not seen it; this model has seen all of "
        "them.\n\n"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _licence(card: Mapping[str, Any]) -> str:
    licence, data = card["licence"], card["data"]["name"]
    lines = ["## Licence", "", f"Of this model: {licence['model']}."]
    if not card["licence"]["stated"]:
        lines[-1] += " Who gives it on has to decide, in view of what it was made from:"
    lines += ["", f"- data set {data}: {licence['data']}"]
    if licence["pretrained"]:
        terms = licence["pretrained_terms"] or "see their publisher's terms"
        lines.append(f"- pretrained weights {licence['pretrained']}: {terms}")
    return "\n".join(lines)


def _files(card: Mapping[str, Any]) -> str:
    versions = {name: version for name, version in card["versions"].items() if name not in ("platform", "device")}
    lines = [
        "## Files",
        "",
        "- `card.json`: all of this for programs, and the SHA-256 of every file but this one",
        f"- `{PARAMETERS}/`: the weights (Orbax, float32)",
        f"- `{ARTIFACT}`: the network without weights (`jax.export`), for any batch, height and width, on CPU, CUDA "
        "and TPU. JAX promises that its versions of half a year read it; for a later one that doesn't, export again",
    ]
    if ONNX in card["files"]:
        lines.append(f"- `{ONNX}`: network and weights for ONNX Runtime")
    return "\n".join([*lines, "", f"Made with {', '.join(map(' '.join, versions.items()))}."])
