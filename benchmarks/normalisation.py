"""One trained model under several batch statistics: what the choice costs or gains.

python benchmarks/normalisation.py WORKDIR [WORKDIR ...]

Training normalises by batch statistics, so one run serves all policies of inference: the running averages it kept
(of the streams that `config.model.running_streams` names), and averages taken afresh, with the final parameters, over
unlabelled or over labelled training images. 'image' normalises each batch of test windows by its own statistics: not
a policy that an exported model can have, but what the parameters could do if the statistics fitted.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from crcfp_jax.common.command import run_main
from crcfp_jax.common.files import read_json
from crcfp_jax.evaluation.recalibration import Recalibration, recalibration_windows
from crcfp_jax.evaluation.scoring import evaluate
from crcfp_jax.models.encoders.pixels import normalise
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.parts import assemble
from crcfp_jax.runs.restore import selected_step
from crcfp_jax.runs.settings import load_config
from crcfp_jax.training.parallel import local_copy
from crcfp_jax.training.state import create_state


def figures(workdir: Path) -> dict[str, float]:
    """mIoU on the test split, in percent, by the statistics used."""
    config = load_config(read_json(workdir / "config.json"), workdir / "config.json")
    parts = assemble(config)
    checkpoints = Checkpoints(workdir, read_only=True)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    template = create_state(parts.network(), parts.method, config, parts.optimizer, sharding=sharding)
    state, _ = checkpoints.restore(selected_step(checkpoints, config.evaluation.selection), template)
    variables = local_copy(state.variables)

    def score(stats, evaluator=None) -> float:
        evaluator = evaluator or parts.evaluator(variables | {"batch_stats": stats})
        result, _ = evaluate(evaluator, parts.data_set, parts.split.test, threads=config.data.threads)
        return result["mean_iou"]

    def recalibrated(records):
        windows = recalibration_windows(
            parts.data_set,
            records,
            count=config.model.recalibration_images,
            side=config.data.side,
            microns_per_pixel=parts.microns_per_pixel,
        )
        return Recalibration(parts.network(), windows)(variables)

    @jax.jit
    def by_own_statistics(windows):
        network = parts.network()
        images = normalise(windows, network.pixels)
        logits, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
        return jax.nn.softmax(logits, axis=-1)

    plain = parts.evaluator(variables)
    return {
        f"running ({config.model.running_streams} streams)": score(variables["batch_stats"]),
        "recalibrated, unlabelled": score(recalibrated(parts.split.unlabelled)),
        "recalibrated, labelled": score(recalibrated(parts.split.labelled)),
        "image": score(
            None, dataclasses.replace(plain, forward=lambda windows: np.asarray(by_own_statistics(windows)))
        ),
    }


def main() -> None:
    """Prints a row for each run folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR", help="finished run folder")
    table = Table(title="mIoU on the test split, %")
    table.add_column("run")
    for number, workdir in enumerate(parser.parse_args().workdirs):
        row = figures(workdir)
        if not number:
            for name in row:
                table.add_column(name, justify="right")
        table.add_row(workdir.name, *(f"{value:.1f}" for value in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    run_main(main)
