"""Every JSON file that a command reads, damaged at random: it is read, or told of in one line."""

import json
import random
from functools import partial
from types import SimpleNamespace

import pytest
from fake_tiles import build_stored, noise
from json_mutations import RAW, mutated
from written_json import DATA, GRID, METRICS, PLAN, RESULT, write_card

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.config import default
from crcfp_jax.crossvalidate.folder import CrossValidationFolder
from crcfp_jax.doctor.folder import write_report
from crcfp_jax.portable_model.card import card_digest, read_card
from crcfp_jax.slides.result import read_result
from crcfp_jax.tables.folder import GridFolder
from data_pipelines.data_set import open_data_set

CASES = 40  # of a file


@pytest.fixture
def folder(tmp_path):
    """A built data set, a run that has logged a little, a model's card, a picture's result."""
    data = build_stored(tmp_path / "data", noise(9)).path
    run = tmp_path / "run"
    run.mkdir()
    settings = json.loads(default().to_json()) | {"method": "crcfp"}
    (run / "config.json").write_text(json.dumps(settings))
    (run / "data.json").write_text(json.dumps(DATA))
    lines = [METRICS | {"step": step} for step in range(10, 400, 10)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_card(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    (tmp_path / "grid.json").write_text(json.dumps(GRID))
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    return SimpleNamespace(root=tmp_path, data=data, run=run)


def attempts(path, rng):
    """Damaged contents of a file; a card is signed anew, as damage alone never passes its check sum."""
    lines = path.read_text().splitlines()
    for _ in range(CASES):
        if path.suffix == ".jsonl":
            number = rng.randrange(len(lines))
            damaged = json.dumps(mutated(json.loads(lines[number]), rng))
            yield "\n".join([*lines[:number], damaged, *lines[number + 1 :], ""]).encode()
            continue
        value = mutated(json.loads(path.read_text()), rng)
        if path.name == "card.json" and isinstance(value, dict):
            value["card_sha256"] = card_digest(value)
        yield json.dumps(value).encode()
    yield from RAW


@pytest.mark.parametrize(
    "name",
    [
        "index.json",
        "splits.json",
        "about.json",
        "config.json",
        "data.json",
        "metrics.jsonl",
        "card.json",
        "result.json",
        "grid.json",
        "plan.json",
    ],
)
def test_damage_is_told_in_one_line(folder, name):
    rng = random.Random(name)
    readers = {
        ("index.json", "splits.json", "about.json"): (
            folder.data,
            partial(open_data_set, folder.root / "data", "tiny"),
        ),
        ("config.json", "data.json", "metrics.jsonl"): (folder.run, partial(write_report, folder.run)),
        ("card.json",): (folder.root, partial(read_card, folder.root)),
        ("grid.json",): (folder.root, GridFolder(folder.root).read),
        ("plan.json",): (folder.root, CrossValidationFolder(folder.root).read),
        ("result.json",): (folder.root, partial(read_result, folder.root / "result.json")),
    }
    ((place, read),) = [reader for names, reader in readers.items() if name in names]
    path, told = place / name, 0
    read()
    whole = path.read_bytes()
    for content in attempts(path, rng):
        path.write_bytes(content)
        try:
            read()
        except UserError as error:
            told += 1
            assert "\n" not in str(error) and name in str(error)
        finally:
            path.write_bytes(whole)
    assert told >= len(RAW) - 1
    read()


def test_json_of_any_depth_is_told(tmp_path):
    (tmp_path / "a.json").write_bytes(b"[" * 200_000)
    with pytest.raises(UserError, match=r"a\.json is not a JSON file"):
        read_json(tmp_path / "a.json")
