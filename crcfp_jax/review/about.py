"""What a page tells of the run itself: its data, its settings, and what may follow."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crcfp_jax.common.settings import value_at
from crcfp_jax.common.words import duration
from crcfp_jax.config import TABLE
from crcfp_jax.methods.systems.registry import find_method
from crcfp_jax.review.page import listed, section, table, text
from crcfp_jax.runs.parts import Parts
from data_pipelines.data_set import SPLITS


def subtitle(settings: Mapping[str, Any], data: Mapping[str, Any] | None, result: Mapping[str, Any] | None) -> str:
    """What was trained on what, and which of its models the figures are of."""
    told = [f"{settings['train']['steps']} steps" + (f" in {duration(result['seconds'])}" if result else "")]
    if result is not None:
        told.append(f"{result['selection'].replace('_', ' ')} checkpoint (step {result['step']})")
    if data is not None:
        unlabelled = f" and {data['unlabelled_tiles']} unlabelled" if _uses_unlabelled(settings) else ""
        told += [
            f"{data['labelled_tiles']} labelled{unlabelled} tiles",
            f"{data['microns_per_pixel']:.3g} µm per pixel",
        ]
    return ", ".join(told)


def _uses_unlabelled(settings: Mapping[str, Any]) -> bool:
    """Whether the method of a run looks at unlabelled tiles."""
    return bool(find_method(settings["method"]).sources)


def data_section(settings: Mapping[str, Any], told: Mapping[str, Any] | None, parts: Parts | None) -> str:
    """What it learned from, and what its data set holds; `told`: its data.json."""
    blocks = []
    if told is not None:
        unused = "" if _uses_unlabelled(settings) else f", which {settings['method']} does not look at"
        count = told["labelled_patients"]
        lines = [
            f"{told['name']}: {told['labelled_tiles']} labelled tiles of {count} patient{'s' * (count != 1)}",
            f"{told['unlabelled_tiles']} unlabelled tiles{unused}",
        ]
        size = f"the network sees {told['microns_per_pixel']:.3g} µm per pixel"
        blocks.append(f"<p>{text(', '.join(lines))}; {text(size)}.</p>")
        rows = [
            [text(row["name"]), f"{row['mm2']:.3g}", str(row["tiles"]), str(row["patients"])] for row in told["classes"]
        ]
        blocks.append(table(("class", "labelled mm²", "tiles", "patients"), rows))
    if parts is not None:
        data = parts.data_set
        rows = []
        for split in SPLITS:
            records = [record for record in data.records if record.split == split]
            if records:
                images, patients = ({getattr(record, key) for record in records} for key in ("image", "patient"))
                annotated = sum(record.annotated for record in records)
                rows.append([split, str(len(records)), str(annotated), str(len(images)), str(len(patients))])
        blocks.append(table(("stored split", "tiles", "annotated", "images", "patients"), rows))
        blocks.append(f'<p class="faint">Licence of the data: {text(data.licence or "not stated")}.</p>')
        blocks.append(listed(text(line) for line in (*data.notes, *(f"left out: {line}" for line in data.skipped))))
    return section("Data", *blocks)


def settings_section(settings: Mapping[str, Any], result: Mapping[str, Any] | None) -> str:
    """Settings that differ from the defaults, and the versions that computed the result."""
    rows = []
    for key, entry in TABLE.items():
        try:
            value = value_at(settings, key)
        except (KeyError, TypeError):  # a setting that an older version did not have
            continue
        if json.dumps(value) != json.dumps(entry.default):
            rows.append([f"<code>{text(key)}</code>", text(value), text(entry.default)])
    versions = result.get("versions", {}) if result else {}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    shown = table(("setting", "here", "default"), rows, of_words=True)
    return section("Settings that are not the defaults", shown, f'<p class="faint">{text(told)}</p>')


def next_section(workdir: Path, settings: Mapping[str, Any], *, tested: bool) -> str:
    """The commands that may follow; V, M, O and S are folders to be made, CONFIG is the run's own."""
    commands = {
        "to predict and to give away": f"python -m crcfp_jax.export --workdir {shlex.quote(str(workdir))} --output M",
        "slides": "./launch.sh predict --model M --output O slides/",
        "where to annotate next": "./launch.sh suggest --model M --output S slides/",
    }
    if not tested:
        name = shlex.quote(f"--config.data.name={settings['data']['name']}")
        estimate = f"python -m crcfp_jax.crossvalidate --config CONFIG {name} --workdir V"
        commands = {"how good the model is (CONFIG: the run's, such as configs/own.py)": estimate} | commands
    return section(
        "How to go on", listed(f"{text(use)}: <code>{text(command)}</code>" for use, command in commands.items())
    )
