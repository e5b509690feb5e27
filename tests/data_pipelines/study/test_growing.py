"""A study that is built again: what is read, what is kept, and what is not taken for the same."""

import os

import numpy as np
from PIL import Image
from studies import MEND, build_study, feature, labels, refuse, square, write_geojson, write_image, write_study

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build


def _noting(opened):
    from data_pipelines.reading.open import open_slide

    def note(path):
        opened.append(path.stem)
        return open_slide(path)

    return note


def test_growing_reads_what_has_changed_only(tmp_path, monkeypatch):
    study = tmp_path / "study"
    write_study(study, patients=3, unannotated=2)
    write_image(study / "test" / "last.png", seed=50)
    write_geojson(study / "test" / "last.geojson", feature("Tumor", square(0, 0, 9)))
    first = build_study(tmp_path)
    stored = {file.stat().st_ino for file in first.path.glob("*array_record*")}
    written = (first.path / "index.json").stat().st_mtime_ns
    again = build_study(tmp_path)
    assert again.fingerprint == first.fingerprint
    assert (again.path / "index.json").stat().st_mtime_ns == written
    assert {file.stat().st_ino for file in again.path.glob("*array_record*")} == stored
    opened = []
    monkeypatch.setattr("data_pipelines.study.cutting.open_slide", _noting(opened))
    drawn = (feature("Tumor", square(0, 0, 30)), feature("Stroma", square(100, 100, 50)))
    write_geojson(study / "annotated" / "slide1.geojson", *drawn)
    write_image(study / "unannotated" / "more9.png", seed=9)
    (study / "unannotated" / "more0.png").unlink()
    changed = build_study(tmp_path)
    assert sorted(opened) == ["more9", "slide1"]
    assert sorted(changed.images) == ["last", "more1", "more9", "slide0", "slide1", "slide2"]
    assert (labels(changed, "slide1")[1] == 1).sum() == 900 and (labels(changed, "slide0")[1] == 1).sum() == 3600
    anew = build("folder", study, tmp_path / "other", microns_per_pixel="0.5")
    assert anew.fingerprint == changed.fingerprint  # as if it had been built at once
    assert sorted(path.name for path in changed.path.iterdir()) == sorted(path.name for path in anew.path.iterdir())
    pictures = [sorted(path.name for path in (each.path / "check").iterdir()) for each in (changed, anew)]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 8


def test_a_new_class_leaves_unannotated_images_alone(tmp_path, monkeypatch):
    write_study(tmp_path / "study", patients=2, unannotated=2)
    build_study(tmp_path)
    opened = []
    monkeypatch.setattr("data_pipelines.study.cutting.open_slide", _noting(opened))
    drawn = (feature("Artery", square(0, 0, 30)), feature("Stroma", square(100, 100, 50)))
    write_geojson(tmp_path / "study" / "annotated" / "slide1.geojson", *drawn)
    data_set = build_study(tmp_path)
    assert sorted(opened) == ["slide0", "slide1"]
    assert [info.name for info in data_set.classes] == ["Artery", "Stroma", "Tumor"]
    assert (labels(data_set, "slide0")[1] == 2).sum() == 3600 and (labels(data_set, "more1")[1] == 255).all()


def test_another_study_does_not_take_the_place_of_one(tmp_path):
    write_study(tmp_path / "study", patients=2, unannotated=0)
    build_study(tmp_path)
    for path in (tmp_path / "study" / "annotated").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    message = (
        f"{tmp_path}/data/study/1.0.0 was built of other images, such as annotated/slide0.png: give this study another "
        "--name, or replace that one with --overwrite"
    )
    assert refuse(tmp_path) == message
    assert sorted(build_study(tmp_path, name="mine").images) == ["other_slide0", "other_slide1"]
    assert sorted(build_study(tmp_path, overwrite=True).images) == ["other_slide0", "other_slide1"]


def test_a_source_without_tiles_leaves_the_others_stored(tmp_path, monkeypatch):
    study = tmp_path / "study"
    write_study(study, patients=1, unannotated=1)
    Image.fromarray(np.full((300, 400, 3), 250, np.uint8)).save(study / "unannotated" / "glass.png", dpi=(50800,) * 2)
    assert "glass" in build_study(tmp_path).images
    write_image(study / "unannotated" / "new.png", seed=7)
    opened = []
    monkeypatch.setattr("data_pipelines.study.cutting.open_slide", _noting(opened))
    build_study(tmp_path)
    assert opened == ["new"]


def test_what_was_left_out_once_is_read_again(tmp_path, monkeypatch):
    from data_pipelines.study import cutting

    write_study(tmp_path / "study", patients=2, unannotated=1)

    def fail(path):
        if path.stem == "slide1":
            raise UserError(f"{path} is on a drive that is away")
        return open_slide(path)

    open_slide = cutting.open_slide
    monkeypatch.setattr(cutting, "open_slide", fail)
    first = build_study(tmp_path, skip_bad=True)
    assert len(first.skipped) == 1 and "slide1" in first.skipped[0]
    monkeypatch.setattr(cutting, "open_slide", open_slide)
    again = build_study(tmp_path)
    assert again.skipped == () and (labels(again, "slide1")[1] == 1).any()


def test_a_study_that_changes_meanwhile(tmp_path, monkeypatch):
    write_study(tmp_path / "study")
    path = tmp_path / "study" / "annotated" / "slide1.geojson"
    from data_pipelines.study.cutting import _Canvas

    tile = _Canvas.tile

    def change(self, *arguments):
        os.utime(path, ns=(1, 1))
        return tile(self, *arguments)

    monkeypatch.setattr(_Canvas, "tile", change)
    said = refuse(tmp_path)
    assert said == f"annotated/slide1.geojson changed while it was read: run the build again{MEND}"
