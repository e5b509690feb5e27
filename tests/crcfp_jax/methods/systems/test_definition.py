"""What a method's data may say, and what of it is derived."""

import dataclasses

import pytest

from crcfp_jax.methods.systems.definition import Method, Stream, Term
from crcfp_jax.methods.systems.registry import METHODS, by_rank, find_variant, systems

CONTRAST = METHODS["crcfp"].term("contrastive")
CRCFP, CDCL = METHODS["crcfp"], METHODS["cdcl"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"terms": (*CDCL.terms, dataclasses.replace(CONTRAST, streams=("altered",), pushes=("altered",)))},
         "'cross_patch' and 'contrastive' can't share the memory bank"),
        ({"terms": CDCL.terms[:1] * 2}, "two streams or two terms have the same name"),
        ({"teacher_decay": ""}, "a teacher's stream, and nothing else, needs the key of the teacher's decay"),
        ({"predictions": "whole"}, "a stream 'whole' is not defined"),
        ({"streams": (*CDCL.streams, Stream("unseen", "view_b"))}, "no term looks at stream 'unseen'"),
        ({"streams": (Stream("altered", "view_a", "strange"), CDCL.streams[1])}, "stream 'altered' is not from"),
        ({"terms": (*CDCL.terms, Term("new", ("altered",), "w", "", needs=("luck",)))}, "'new' needs 'luck'"),
        ({"terms": (*CDCL.terms, Term("new", ("altered",), "w", "", needs=("perturbations",)))}, "'new': what needs"),
        ({"terms": (*CDCL.terms, Term("new", ("altered",), "w", "", pushes=("unaltered",)))}, "pushes what it doesn't"),
        ({"terms": (*CDCL.terms, Term("new", ("altered",), "w", "", needs=("bank",)))}, "'new': what needs the bank"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_told(changes, problem):
    with pytest.raises(ValueError, match=r"^method cdcl: .*" + problem):
        dataclasses.replace(CDCL, **changes)


def test_what_a_step_reads_follows_from_the_streams():
    assert METHODS["supervised"].inputs == ("image", "label")
    assert METHODS["cac"].inputs == ("image", "label", "view_a", "view_b", "offset", "flip")
    assert CRCFP.inputs == ("image", "label", "unlabelled", "view_a", "view_b", "offset", "flip")
    assert CDCL.inputs == ("image", "label", "view_a")
    on_labelled = Method("any", "", (), (Stream("again", "image"),), (Term("entropy", ("again",), "w", ""),))
    assert on_labelled.sources == () and on_labelled.inputs == ("image", "label")


def test_the_systems_in_their_order():
    names = ["supervised_plain", "supervised", "supervised_recalibrated", "cct", "cac", "cdcl", "crcfp_s1", "crcfp_s2",
             "crcfp", "mean_teacher", "fixmatch", "unimatch", "context_match"]  # fmt: skip
    assert list(systems()) == names
    assert by_rank(supervised=True) == ("supervised", "supervised_recalibrated", "supervised_plain")
    assert by_rank(supervised=False) == (
        "crcfp", "crcfp_s2", "cac", "crcfp_s1", "cdcl", "cct", "mean_teacher", "fixmatch", "unimatch",
        "context_match",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("labelled", "statistics", "name"),
    [
        (True, "running", "supervised"),
        (False, "running", "supervised_plain"),
        (True, "recalibrated", "supervised_recalibrated"),
        (False, "recalibrated", "supervised_recalibrated"),
    ],
)
def test_a_runs_settings_tell_its_system(labelled, statistics, name):
    settings = {"augment": {"labelled": labelled}, "model": {"inference_statistics": statistics}}
    assert find_variant(settings | {"method": "supervised"}).name == name
    assert find_variant(settings | {"method": "crcfp"}).name == "crcfp"
    assert find_variant(settings | {"method": "of another version"}) is None
