"""What a cross-validation leaves behind: crossvalidation.json and .md, and what its final models tell of it."""

from typing import Any

from crcfp_jax.common.files import to_json_types, write_json_atomic, write_text_atomic
from crcfp_jax.crossvalidate.figures import for_final, summarise
from crcfp_jax.crossvalidate.folder import CrossValidationFolder
from crcfp_jax.crossvalidate.plan import FINAL
from crcfp_jax.crossvalidate.render import markdown

FIGURES = "crossvalidation.json"


def write_tables(folder: CrossValidationFolder) -> dict[str, Any]:
    """Writes the figures of what has finished anew, each file whole or not at all; returns them.

    Raises:
        UserError: the folder is unwritable, or a file in it is damaged.
    """
    with folder.changing():
        figures = to_json_types(summarise(folder))
        write_json_atomic(folder.workdir / FIGURES, figures)
        write_text_atomic(folder.table, markdown(figures))
        for method in figures["methods"]:
            final, told = folder.run(f"{method}/{FINAL}"), for_final(figures, method)
            if final.is_dir() and told is not None:
                write_json_atomic(final / FIGURES, told)
    return figures
