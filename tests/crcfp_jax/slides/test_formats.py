"""The table of formats."""

import subprocess
import sys

from crcfp_jax.slides.formats import FORMATS, default_formats, need_uncertainty, needed_of_pixels
from crcfp_jax.slides.one_slide import _size_in_the_making
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.writing.band import OutputGrid


def test_what_follows_from_the_rows():
    assert ",".join(FORMATS) == "mask,overlay,geojson,csv,probabilities,uncertainty"
    assert default_formats() == ("mask", "overlay", "geojson", "csv")
    assert need_uncertainty(("mask", "uncertainty")) and not need_uncertainty(default_formats())
    assert needed_of_pixels(default_formats()) == ("classes",)
    assert needed_of_pixels(("mask", "probabilities")) == ("classes", "probabilities8")
    assert needed_of_pixels(FORMATS) == ("classes", "probabilities8", "uncertainty16")


def test_bytes_kept_aside():
    def size(height, width, *formats):
        options = Options(None, None, 32, 0.25, 1, True, formats)
        return _size_in_the_making(OutputGrid(height, width, (1.0, 1.0), 0.5), options, classes=5)

    assert size(30, 40, "overlay", "geojson", "csv", "uncertainty") == 0
    assert size(30, 40, "mask", "probabilities") == 1200 * 6 * 4 // 3
    assert size(2**14, 2**14, "mask", "uncertainty") == 2**28 * 3 * 4 // 3


def test_the_table_loads_no_writer():
    program = (
        "import sys, crcfp_jax.predict\nprint([name for name in ('jax', 'tifffile', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
