"""Folders that the commands write: a seed for every file in them."""

import gc
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from seed import Seed, digest_of


def _write_data_set(folder: Path) -> None:
    from fake_tiles import build_stored, noise

    build_stored(folder, noise(9))


def _read_data_set(folder: Path) -> bytes:
    from data_pipelines.data_set import open_data_set

    data_set = open_data_set(folder, "tiny")
    tiles = data_set.source("train", labels=True)
    parts: list[Any] = [data_set.classes, data_set.records, data_set.splits, data_set.description, data_set.licence]
    for number in range(len(data_set.records)):
        parts += [tiles[number]["image"], tiles[number]["label"]]
    return digest_of(parts)


def _write_model(folder: Path) -> None:
    """A model folder without its network, whose files are compared with the card before anything looks into them."""
    from written_json import CARD, write_card

    from crcfp_jax.portable_model.card import describe_files

    (folder / "model.jaxexport").write_bytes(bytes(range(256)) * 20)
    write_card(folder, CARD | {"files": describe_files(folder)})


def _read_model(folder: Path) -> bytes:
    from crcfp_jax.portable_model.card import check_files, read_card

    card = read_card(folder)
    check_files(folder, card)
    return digest_of([(folder / "model.jaxexport").read_bytes(), card])


def _write_result(folder: Path) -> None:
    from written_json import RESULT

    (folder / "result.json").write_text(json.dumps(RESULT))


def _read_result(folder: Path) -> bytes:
    from crcfp_jax.slides.result import read_result

    return digest_of([read_result(folder / "result.json")])


def _write_run(folder: Path) -> None:
    from written_json import DATA, METRICS

    from crcfp_jax.config import default

    (folder / "config.json").write_text(json.dumps(json.loads(default().to_json()) | {"method": "crcfp"}))
    (folder / "data.json").write_text(json.dumps(DATA))
    lines = [METRICS | {"step": step} for step in range(10, 200, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _read_run(folder: Path) -> bytes:
    from crcfp_jax.doctor.folder import write_report

    return digest_of([write_report(folder)])


def _state() -> Any:
    import jax.numpy as jnp

    from crcfp_jax.training.state import TrainState

    arrays = {"w": jnp.arange(600.0).reshape(20, 30)}
    return TrainState(
        step=jnp.asarray(5), params=arrays, batch_stats={"m": jnp.ones(7)}, opt_state={}, bank=None, teacher=None
    )


def _write_checkpoint(folder: Path) -> None:
    from crcfp_jax.runs.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder)
    checkpoints.save(_state(), _state().batch_stats, {"loader": {"position": 3}}, {"seed": 1}, {"mean_iou": 50.0})
    checkpoints.close()


def _read_checkpoint(folder: Path) -> bytes:
    import jax

    from crcfp_jax.common.command import silent_threads
    from crcfp_jax.runs.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder, read_only=True)
    try:
        assert checkpoints.best_step() == 5
        # A command that fails ends at once; here, what is left of the attempt speaks when it is collected.
        with silent_threads():
            try:
                state, data = checkpoints.restore(5, _state())
            finally:
                gc.collect()
    finally:
        checkpoints.close()
    return digest_of([*map(np.asarray, jax.tree.leaves(state)), data])


KINDS = {  # how it is written and read, and parts of the names of files that a check sum covers whole
    "data set": (_write_data_set, _read_data_set, ("array_record",)),
    "model": (_write_model, _read_model, (".json", ".jaxexport")),
    "result": (_write_result, _read_result, ()),
    "run": (_write_run, _read_run, ()),
    "checkpoint": (_write_checkpoint, _read_checkpoint, ("",)),
}


def folder_seeds(scratch: Path) -> dict[str, list[Seed]]:
    """The seeds by kind of folder, each of which is written once, into `scratch`, to learn what is in it."""
    seeds: dict[str, list[Seed]] = {}
    for kind, (write, read, covered) in KINDS.items():
        folder = scratch / kind
        folder.mkdir(parents=True)
        write(folder)
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
            form = "text" if path.suffix in (".json", ".jsonl") else ""
            name = path.relative_to(folder).as_posix()
            copy = partial(shutil.copytree, folder, dirs_exist_ok=True)  # some names are drawn anew at every writing
            seeds.setdefault(kind, []).append(Seed(name, copy, read, form, any(end in path.name for end in covered)))
    return seeds
