import re
from collections import Counter

import pytest

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.files import read_annotations


def region(points, kind="0", hole="0", number="1"):
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f'<Region Id="{number}" Type="{kind}" NegativeROA="{hole}"><Vertices>{vertices}</Vertices></Region>'


def layer(*regions, name="", attribute="", colour="65280"):
    attributes = f'<Attributes><Attribute Name="{attribute}" Id="0" Value=""/></Attributes>' if attribute else ""
    head = f'<Annotation Id="1" Name="{name}" LineColor="{colour}">'
    return f"{head}{attributes}<Regions>{''.join(regions)}</Regions></Annotation>"


def imagescope(tmp_path, *layers):
    path = tmp_path / "a.xml"
    path.write_text(f'<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>')
    return read_annotations(path)


SQUARE = [(0, 0), (4, 0), (4, 4), (0, 4)]


def test_imagescope_layers_are_classes(tmp_path):
    found = imagescope(
        tmp_path,
        layer(region(SQUARE), region([(8, 8), (10, 8), (10, 10)], number="2"), name="Tumour", colour="255"),
        layer(region(SQUARE), attribute="Stroma", colour="16711680"),
        layer(region(SQUARE), attribute="Description"),
    )
    assert [(each.name, each.colour, each.geometry.area) for each in found.annotations] == [
        ("Tumour", (255, 0, 0), 16),
        ("Tumour", (255, 0, 0), 2),
        ("Stroma", (0, 0, 255), 16),
        (None, (0, 255, 0), 16),
    ]
    assert found.annotations[1].place == "region 2 of Tumour" and found.notes == ()


def test_imagescope_kinds_of_regions(tmp_path):
    found = imagescope(
        tmp_path,
        layer(
            region([(0, 0), (4, 2)], kind="1"),
            region([(0, 0), (4, 0), (4, 2), (0, 2)], kind="2"),
            region([(0, 0), (9, 9)], kind="3"),
            name="a",
        ),
    )
    rectangle, ellipse = (each.geometry for each in found.annotations)
    assert rectangle.bounds == (0, 0, 4, 2) and rectangle.area == 8
    assert ellipse.area == pytest.approx(3.14159 * 2 * 1, rel=1e-3)
    assert found.notes == ("1 region that is no outline (arrow, ruler ...) left out",)


def test_imagescope_negative_regions_are_holes_of_their_layer(tmp_path):
    hole = region([(1, 1), (2, 1), (2, 2), (1, 2)], hole="1")
    found = imagescope(tmp_path, layer(hole, region(SQUARE), name="a"), layer(region(SQUARE), name="b"))
    assert [each.geometry.area for each in found.annotations] == [15, 16]


def test_what_a_hole_leaves_of_a_region(tmp_path):
    """Of the first nothing, of the second an area; of its side along the hole no line stays."""
    hole = region([(0, 0), (4, 0), (4, 4), (0, 4)], hole="1")
    right = region([(4, 0), (6, 0), (6, 4), (4, 4)], number="2")
    found = imagescope(tmp_path, layer(region(SQUARE), right, hole, name="a"))
    (left,) = found.annotations
    assert left.place == "region 2 of a" and left.geometry.geom_type == "Polygon" and left.geometry.area == 8
    assert found.notes == ("1 region that is a hole from edge to edge left out",)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("Description", "", None), ("Description", "Stroma", "Stroma"), ("Stroma", "", "Stroma"), ("Class", "Fat", "Fat")],
)
def test_imagescope_names_a_layer_by_its_attribute(tmp_path, name, value, expected):
    text = layer(region(SQUARE), attribute=name).replace('Value=""', f'Value="{value}"')
    assert [each.name for each in imagescope(tmp_path, text).annotations] == [expected]


def test_asap(tmp_path):
    corners = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in reversed(list(enumerate(SQUARE))))
    drawn = "".join(
        f'<Annotation Name="A {n}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>{corners}'
        "</Coordinates></Annotation>"
        for n, (kind, group) in enumerate([("Polygon", "Tumour"), ("Spline", "None"), ("PointSet", "Tumour")])
    )
    groups = '<AnnotationGroups><Group Name="Tumour" PartOfGroup="None" Color="#ff0080"/></AnnotationGroups>'
    (tmp_path / "a.xml").write_text(f"<ASAP_Annotations><Annotations>{drawn}</Annotations>{groups}</ASAP_Annotations>")
    found = read_annotations(tmp_path / "a.xml")
    first, second, third = found.annotations
    assert found.notes == ("1 spline taken as the polygon of its points",)
    assert (first.name, first.colour, first.geometry.area, first.label) == ("Tumour", (255, 0, 128), 16, "A 0")
    assert (second.name, second.colour) == (None, (244, 250, 88))
    assert third.geometry.geom_type == "MultiPoint"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a", "is no readable XML"),
        ('<?xml version="1.0" encoding="none"?><Annotations/>', "is no readable XML (unknown encoding: none)"),
        ("<html></html>", "is XML of <html>: ImageScope's <Annotations> and <ASAP_Annotations> are read"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations/>', "declares XML entities"),
        (
            f"<Annotations>{layer(region([(0, 0), (1, 1)]))}</Annotations>",
            "(without a name) has 2 points, where",
        ),
        (f"<Annotations>{layer(region([('x', 0)] * 3))}</Annotations>", "has a vertex without numbers"),
        (f"<Annotations>{layer(region([(1e9, 0)] * 3))}</Annotations>", "positions that are no pixels of an image"),
        (f"<Annotations>{layer(region([(0, 0), (1, 1), (2, 2)]))}</Annotations>", "an outline without any area"),
    ],
)
def test_faults(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_annotations(tmp_path / "a.xml")


def test_a_slide_of_imagescope(real_data):
    found = read_annotations(real_data / "slides" / "A9K0_1.xml")
    assert Counter(each.name for each in found.annotations) == {"Epithelial": 314, "Macrophage": 7}
    first = found.annotations[0]  # the file says Area="879.5" of it, in pixels
    assert first.place == "region 2 of Epithelial" and first.geometry.area == pytest.approx(879.5, abs=0.01)


def test_outlines_of_nuclei(real_data):
    """Every region of MoNuSeg's files, but two slips of the pen."""
    folder = real_data / "monuseg" / "MoNuSeg 2018 Training Data" / "Annotations"
    for path in sorted(folder.glob("*.xml"))[:5]:
        stored = len(re.findall(r"<Region ", path.read_text()))
        try:
            assert len(read_annotations(path).annotations) == stored
        except UserError as error:
            assert "points" in str(error) or "without any area" in str(error)


def test_asap_of_a_file(real_data):
    files = [real_data / "annotations" / "forms" / f"asap-{name}.xml" for name in ("dot", "pointset", "polygon")]
    kinds = [read_annotations(path).annotations[0].geometry.geom_type for path in files]
    assert kinds == ["Point", "MultiPoint", "Polygon"]
