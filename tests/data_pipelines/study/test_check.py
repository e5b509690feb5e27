from browser import check_page
from studies import write_study

from data_pipelines.build import build


def test_the_page_opens_in_a_browser(tmp_path):
    write_study(tmp_path / "study", patients=3)
    data_set = build("folder", tmp_path / "study", tmp_path / "data", name="a_study-1")
    page = data_set.path / "check.html"
    text = page.read_text()
    assert "3 annotated images" in text and text.count("<img") == 6 and "http" not in text
    assert "Stroma" in text and "400 x 300 pixels of 0.5 µm" in text and "1 Tumor, 1 Stroma" in text
    check_page(page, images=6)
