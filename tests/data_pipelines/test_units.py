"""Split units as JSON: there and back, and every wrong form named."""

import json

import pytest

from data_pipelines.recipes import all_recipes, find_recipe
from data_pipelines.units import Splits, Unit, parse_splits, splits_to_json

WHOLE = {
    "source": "by hand",
    "default": "patient",
    "units": {
        "image": {"fractions": {"1/2": 2}},
        "patient": {
            "field": "patient",
            "fractions": {"1/4": 1, "1/1": 4},
            "training": ["P1", "P2"],
            "labelled": {"1": {"1/4": ["P2"]}},
        },
    },
}


def test_the_default_unit_comes_first():
    splits = parse_splits(WHOLE)
    assert splits == Splits(
        (
            Unit("patient", {"1/4": 1, "1/1": 4}, "patient", ("P1", "P2"), {"1": {"1/4": ("P2",)}}),
            Unit("image", {"1/2": 2}, "image"),
        ),
        "by hand",
    )
    assert splits.find("default", "own").name == "patient" and splits.find("image", "own").name == "image"


@pytest.mark.parametrize("name", [name for name, recipe in all_recipes().items() if not recipe.grows])
def test_the_units_of_every_recipe_come_back(name):
    recipe = find_recipe(name)
    there = json.loads(json.dumps(splits_to_json(recipe.splits)))
    again = parse_splits(there)
    assert splits_to_json(again) == there
    assert [unit.name for unit in again.units] == [unit.name for unit in recipe.splits.units]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: [], "it is of another form"),
        (lambda v: None, "it is missing"),
        (lambda v: v | {"units": None}, "units is missing"),
        (lambda v: v | {"units": {}}, "default is 'patient', and units has none"),
        (lambda v: v | {"default": "crop"}, "default is 'crop', and units has image, patient"),
        (lambda v: v | {"default": ["patient"]}, "default is of another form"),
        (lambda v: v | {"source": 3}, "source is of another form"),
        (lambda v: of_patient(v, {"training": "P1"}), "units.patient.training is of another form"),
        (lambda v: of_patient(v, {"training": [1]}), "units.patient.training is no list of names"),
        (lambda v: of_patient(v, {"training": ["P1", "P2", "P1"]}), "units.patient.training names 'P1' twice"),
        (lambda v: v | {"sauce": ""}, "it has 'sauce'; known are source, default and units"),
        (lambda v: of_patient(v, {"labelled": {"1": {"1/4": [*"abc"]}}}), "labelled.1.1/4 has 3 names, and 1/4 is "),
        (lambda v: of_patient(v, {"field": "site"}), "units.patient.field is 'site'; known are hospital, patient"),
        (lambda v: of_patient(v, {"field": ["site"]}), "units.patient.field is of another form"),
        (lambda v: of_patient(v, {"fraction": {}}), "units.patient has 'fraction'; known are field, fractions"),
        (lambda v: of_patient(v, {"fractions": {}}), "units.patient.fractions is empty"),
        (lambda v: of_patient(v, {"fractions": None}), "units.patient.fractions is missing"),
        (lambda v: of_patient(v, {"fractions": {"0.5": 1}}), "units.patient.fractions has '0.5': write a fraction"),
        (lambda v: of_patient(v, {"fractions": {"1/4": True}}), "units.patient.fractions has True for 1/4"),
        (lambda v: of_patient(v, {"labelled": {"one": {}}}), "units.patient.labelled has 'one', which is no seed"),
        (lambda v: of_patient(v, {"labelled": {"1": []}}), "units.patient.labelled.1 is of another form"),
        (lambda v: of_patient(v, {"labelled": {"1": {"1/3": ["P1"]}}}), "labelled.1 has '1/3', which is not in units"),
        (lambda v: of_patient(v, {"labelled": {"1": {"1/4": []}}}), "labelled.1.1/4 is no list of names"),
        (lambda v: v | {"units": {"default": {"fractions": {"1/2": 1}, "field": "image"}}}, "can't be called"),
    ],
)
def test_another_form_is_named(change, named):
    with pytest.raises(ValueError, match=named):
        parse_splits(change(WHOLE))


def of_patient(value, entries):
    return value | {"units": value["units"] | {"patient": value["units"]["patient"] | entries}}
