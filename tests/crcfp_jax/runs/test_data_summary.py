"""What a run says of its data: areas by hand, one line at the start, data.json."""

import dataclasses
import json

import numpy as np
import pytest
from fake_tiles import FakeDataSet, build_stored
from tiny import tiny_config

from crcfp_jax.common.errors import UserError
from crcfp_jax.runs.data_summary import annotated_classes, check_annotated, describe, write_summary
from crcfp_jax.runs.parts import assemble

PIXEL = 0.25**2 / 1e6  # mm² of a pixel of 0.25 µm


def study(folder, labels, **changes):
    """Parts of a run on a data set of 48 x 40 tiles, each of a patient of its own."""
    images = [np.full((48, 40, 3), 50, np.uint8)] * len(labels)
    data_set = FakeDataSet(images, labels)
    data_set.records = tuple(
        dataclasses.replace(record, patient=f"P{number}", image=f"I{number}")
        for number, record in enumerate(data_set.records)
    )
    build_stored(folder, data_set)
    config = tiny_config(data__name="tiny", data__dir=str(folder), fraction="1/1", **changes)
    return assemble(config)


def labels():
    """Class 0: 30 pixels in two tiles; class 2: one pixel in the second; the last tile is not annotated."""
    found = [np.full((48, 40), 255, np.uint8) for _ in range(3)]
    found[0][3, :20] = 0
    found[1][5, :10] = 0
    found[1][9, 9] = 2
    return found


def test_the_amounts_are_those_of_the_labelled_tiles(tmp_path):
    parts = study(tmp_path, labels())
    amounts = annotated_classes(parts)
    assert [(one.tiles, one.patients) for one in amounts] == [(2, 2), (0, 0), (1, 1), (0, 0), (0, 0)]
    np.testing.assert_allclose([one.mm2 for one in amounts], [30 * PIXEL, 0, PIXEL, 0, 0])
    write_summary(parts, tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "data.json").read_text())
    assert (stored["labelled_tiles"], stored["labelled_patients"], stored["unlabelled_tiles"]) == (2, 2, 1)
    assert stored["classes"][2] == {"name": "class 2", "mm2": PIXEL, "tiles": 1, "patients": 1}


def test_a_run_is_told_in_one_line(tmp_path):
    parts = study(tmp_path, labels(), data__sampling="classes", data__microns_per_pixel=0.5)
    # Of areas 30 and 1: roots 5.48 and 1.
    assert describe(parts) == [
        "tiny: 5 classes (class 0, class 1, class 2, class 3, class 4), 2 labelled and 1 unlabelled tiles, 0.5 µm per "
        "pixel as config.data.microns_per_pixel says, crops of 32 pixels = 16 µm, 10 steps of 4 + 4, labelled crops "
        "drawn around pixels of class 0 84.6 %, class 1 0 %, class 2 15.4 %, class 3 0 %, class 4 0 %"
    ]
    parts = study(tmp_path / "other", labels(), method="supervised")
    (line,) = describe(parts)
    assert "2 labelled tiles, 0.188 µm per pixel as config.data.base_size=64 makes it, " in line
    assert line.endswith("10 steps of 4")
    parts = dataclasses.replace(parts, data_set=dataclasses.replace(parts.data_set, network_microns_per_pixel=0.5))
    assert "µm per pixel as its build chose" in describe(parts)[0]


def test_training_on_annotated_images_alone_is_told(tmp_path):
    parts = study(tmp_path, labels()[:2])
    assert "the unlabelled images are the same ones" in describe(parts)[1]


def test_one_class_alone_is_refused(tmp_path):
    parts = study(tmp_path, [labels()[0], labels()[2]])
    with pytest.raises(UserError, match="data set tiny: only class 0 is annotated in its 1 labelled tiles"):
        check_annotated(parts)
    check_annotated(study(tmp_path / "other", labels()))
