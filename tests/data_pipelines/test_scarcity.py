"""Classes with too little annotation are named, with the figures that are too small."""

from data_pipelines.scarcity import Annotated, scarce_classes

ENOUGH = Annotated("tumour", mm2=0.005, tiles=3, patients=2)  # 20,000 pixels of 0.5 µm: each is 2.5e-7 mm²


def test_enough_of_every_class_says_nothing():
    assert scarce_classes([ENOUGH], microns_per_pixel=0.5, patients=2) == {}
    assert scarce_classes([], microns_per_pixel=0.5) == {}


def test_what_is_too_little_is_told_with_its_figures():
    necrosis = Annotated("necrosis", mm2=0.0025, tiles=1, patients=1)
    assert scarce_classes([ENOUGH, necrosis], microns_per_pixel=0.5, patients=6) == {
        "necrosis": "Class necrosis has little annotation: 0.0025 mm² (10,000 pixels of 0.5 µm), 1 tile, 1 of 6 "
        "patients. Annotate more of it, at other places and on other patients."
    }


def test_only_the_figures_that_are_too_small_are_told():
    told = scarce_classes([Annotated("fat", mm2=1.0, tiles=2, patients=2)], microns_per_pixel=0.5, patients=6)
    assert told["fat"].startswith("Class fat has little annotation: 2 tiles. Annotate")


def test_the_area_counts_as_the_network_sees_it():
    assert not scarce_classes([ENOUGH], microns_per_pixel=0.5)
    assert "5,000 pixels of 1 µm" in scarce_classes([ENOUGH], microns_per_pixel=1.0)["tumour"]


def test_one_patient_altogether_is_no_fault_of_a_class():
    single = Annotated("fat", mm2=1.0, tiles=9, patients=1)
    assert scarce_classes([single], microns_per_pixel=0.5, patients=1) == {}
    assert scarce_classes([single], microns_per_pixel=0.5) == {}
    assert "1 of 2 patients" in scarce_classes([single], microns_per_pixel=0.5, patients=2)["fat"]


def test_a_class_without_annotation_is_told_so():
    told = scarce_classes([Annotated("fat", mm2=0.0, tiles=0, patients=0)], microns_per_pixel=0.5, patients=6)
    assert told["fat"].startswith("Class fat has no annotated pixel, so it can't be learned: annotate some")
