"""Pictures from checkpoints: two untrained networks in run folders, restored, shown and measured."""

import json

import jax
import numpy as np
import pytest
import tiny_run
from figure_runs import CLASSES

pytest.importorskip("matplotlib")

from crcfp_jax.evaluation.scoring import evaluate
from crcfp_jax.figures.__main__ import main
from crcfp_jax.figures.choice import mixed_examples
from crcfp_jax.figures.embeddings import WindowedExample, context_ratio, enlarge, place_on_example, place_windows
from crcfp_jax.figures.models import restore
from crcfp_jax.figures.runs import MissingRuns, find_runs
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.parts import assemble
from crcfp_jax.runs.settings import settings
from crcfp_jax.training.state import create_state


@pytest.fixture(scope="module")
def grid(tmp_path_factory, data_dir):
    """A folder of two finished runs of no steps."""
    folder = tmp_path_factory.mktemp("grid")
    for method in ("supervised", "crcfp_s1"):
        config = tiny_run.get_config()
        config.update({"method": method})
        config.data.dir = str(data_dir)
        parts = assemble(config)
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        state = create_state(parts.network(), parts.method, config, parts.optimizer, sharding=sharding)
        workdir = folder / "runs" / method
        checkpoints = Checkpoints(workdir)
        checkpoints.save(state, state.batch_stats, {}, settings(parts))
        checkpoints.close()
        (workdir / "config.json").write_text(json.dumps(settings(parts)))
        rows = {name: {"iou": 50.0} for name in CLASSES}
        (workdir / "result.json").write_text(json.dumps({"mean_iou": 50.0, "per_class": rows}))
    return folder


def test_predictions_and_maps_of_two_systems(grid, tmp_path, capsys):
    main([str(grid), "--output", str(tmp_path), "--only", "methods_predictions,clusters"])
    assert "skipped" not in capsys.readouterr().out
    predictions = json.loads((tmp_path / "methods_predictions.json").read_text())
    assert predictions["fraction"] == "1/8" and len(predictions["images"]) == 3
    scores = [image["systems"]["supervised"]["mean_iou"] for image in predictions["images"]]
    assert scores == sorted(scores)  # the hardest first
    # The same figures as the evaluation of that one image gives.
    run = restore(find_runs([grid])[0][0])
    assert run.run.system == "supervised"
    records = [record for record in run.parts.split.test if record.id == predictions["images"][1]["id"]]
    result, _ = evaluate(run.evaluator, run.parts.data_set, records)
    assert scores[1] == pytest.approx(result["mean_iou"])
    clusters = json.loads((tmp_path / "clusters.json").read_text())
    assert list(clusters["ratio"]) == ["colour", "supervised", "crcfp_s1"] and clusters["images"] == 32
    assert [image["id"] for image in clusters["shown"]] == [image["id"] for image in predictions["images"]]
    maps = np.load(tmp_path / "clusters.npz")
    assert maps["crcfp_s1_1"].shape == maps["truth_1"].shape == (64, 64)
    assert maps["crcfp_s1_1"].mean() == pytest.approx(1.0, abs=1e-3)


def test_embeddings_of_the_same_cells(grid):
    model = restore(next(run for run in find_runs([grid])[0] if run.system == "crcfp_s1"))
    example = mixed_examples(model)[0]
    with pytest.raises(
        MissingRuns, match="needs runs with greater windows: of 32 pixels, 3 that lie 16 apart share no"
    ):
        place_on_example(example, model)
    seen = WindowedExample(enlarge(example, 32, 3.0), place_windows(64, 64, side=32, stride=8, grid=8), np.arange(4))
    found = seen.embed(model)
    assert {space: cells.shape for space, cells in found.items()} == {"shared": (9, 4, 32), "projected": (9, 4, 8)}
    assert np.linalg.norm(found["projected"], axis=-1) == pytest.approx(1.0, abs=1e-5)
    assert context_ratio(found["projected"], seen.classes) > 0
