"""`check.html` of a study, in a browser; and what is found in a page that is not in order."""

from browser import check_page, look_at
from studies import feature, square, write_geojson, write_image, write_study

from data_pipelines.build import build


def test_the_page_opens_in_a_browser(tmp_path):
    write_study(tmp_path / "study", patients=3)
    data_set = build("folder", tmp_path / "study", tmp_path / "data", name="a_study-1")
    page = data_set.path / "check.html"
    text = page.read_text()
    assert "3 annotated images" in text and text.count("<img") == 6 and "http" not in text
    assert "Stroma" in text and "400 x 300 pixels of 0.5 µm" in text and "1 Tumor, 1 Stroma" in text
    check_page(page, images=6)


def test_long_names_fit(tmp_path):
    name = "a_name_without_any_space_as_scanners_write_them_" + "0123456789_" * 5
    write_study(tmp_path / "study", patients=1, unannotated=0)
    write_image(tmp_path / "study" / "annotated" / f"{name}.png", seed=5)
    drawn = (feature("Tumor", square(20, 30, 60)), feature("<b>&Stroma", square(200, 100, 90)))
    write_geojson(tmp_path / "study" / "annotated" / f"{name}.geojson", *drawn)
    page = build("folder", tmp_path / "study", tmp_path / "data", microns_per_pixel="0.5").path / "check.html"
    assert "&lt;b&gt;&amp;Stroma" in page.read_text() and "<b>" not in page.read_text()
    check_page(page, images=4, widths=(400,))


def test_what_is_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><head><title>page</title></head><body><p style="width:900px">wide</p>'
        '<p style="font-size:5px">small</p><img src="nowhere.png"><script>missing()</script></body></html>'
    )
    faults, images, width = look_at(page, 500)
    for found in ("wider than the window", "no picture", "no alternative text", "small text", "missing is not defined"):
        assert any(found in fault for fault in faults), (found, faults)
    assert (images, width) == (1, 500) and list(tmp_path.iterdir()) == [page]
