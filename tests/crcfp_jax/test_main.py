"""Where a run goes by default."""

import pytest
from tiny import tiny_config

from crcfp_jax.main import default_workdir


@pytest.mark.parametrize(
    ("file", "changes", "folder"),
    [
        ("configs/quickstart.py", {}, "quickstart-crcfp-1_8-seed1"),  # a recipe's data set
        ("configs/bcss.py:small", {"data__name": "bcss", "seed": 2}, "bcss-small-crcfp-1_8-seed2"),
        ("configs/bcss.py", {"data__name": "bcss", "data__split_unit": "image"}, "bcss-crcfp-1_8-by-image-seed1"),
        ("configs/own.py:small", {"data__name": "study", "fraction": "1/1"}, "own-small-study-crcfp-1_1-seed1"),
    ],
)
def test_the_default_folder_tells_runs_of_a_grid_apart(file, changes, folder):
    assert default_workdir(file, tiny_config(**changes)).as_posix() == f"runs/{folder}"
