"""Every method's losses, gradients and state against those that the code of commit 35c405b gave."""

import json

import jax
import numpy as np
import pytest
from method_losses import METHODS, PATH, record


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_what_it_always_has(method):
    expected = json.loads(PATH.read_text())[method]
    found = record(method, lambda state: state.teacher["params"])
    jax.tree.map_with_path(
        lambda path, value, golden: np.testing.assert_allclose(
            value, golden, rtol=1e-5, atol=1e-7, err_msg=jax.tree_util.keystr(path)
        ),
        found,
        expected,
    )
