"""What the paper's tables, and two of ours, compare: systems, data sets and tables, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crcfp_jax.methods.systems.definition import Method, Variant
from crcfp_jax.methods.systems.registry import systems

SCALES = ("full", "small", "small_pretrained", "tiny")
STEPS = "train.steps"

# A row of a table is a variant of a method; what has the same terms under another name is run once.
SYSTEMS: Mapping[str, Variant] = {name: variant for name, (method, variant) in systems().items() if not method.same_as}
METHOD_OF: Mapping[str, Method] = {name: method for name, (method, _) in systems().items()}
ALIASES = {name: method.same_as for name, method in METHOD_OF.items() if method.same_as}


@dataclass(frozen=True)
class Data:
    """A data set that a table can be made of.

    Attributes:
        name: as in `config.data.name`.
        variants: scale -> config file, relative to the folder of configs, with its variant.
        classes: how many it has.
        fractions: shares of the labels that the paper's main tables compare, beside all of them; the smallest first.
    """

    name: str
    variants: Mapping[str, str]
    classes: int
    fractions: tuple[str, ...]


def _variants(file: str) -> dict[str, str]:
    return {scale: file if scale == "full" else f"{file}:{scale}" for scale in SCALES}


DATA: Mapping[str, Data] = {
    "synthetic": Data(
        "synthetic",
        _variants("quickstart.py") | {"full": "quickstart.py:full", "small": "quickstart.py"},
        5,
        ("1/8", "1/4"),
    ),
    "bcss": Data("bcss", _variants("bcss.py"), 5, ("1/8", "1/4", "1/2")),
    "ebhi": Data("ebhi", _variants("ebhi.py"), 2, ("1/57", "1/28", "1/14")),
    "glas": Data("glas", _variants("glas.py"), 2, ("1/10", "1/5")),
    "monuseg": Data("monuseg", _variants("monuseg.py"), 2, ("1/32", "1/16", "1/8")),
}


@dataclass(frozen=True)
class Sweep:
    """A number that a table varies.

    Attributes:
        key: dotted key of the config.
        word: its part in the names of run folders.
        label: heading of its column.
        values: what it takes, where the batch allows it.
        times: whether these are multiples of the config file's own value.
    """

    key: str
    word: str
    label: str
    values: tuple[int, ...]
    times: bool = False

    @property
    def systems(self) -> tuple[str, ...]:
        """Those that it has an effect on: those with a term that names the key, or all if it is no term's."""
        of_terms = {key for method in METHOD_OF.values() for key in method.keys}
        return tuple(name for name in SYSTEMS if self.key in METHOD_OF[name].keys or self.key not in of_terms)


@dataclass(frozen=True)
class Table:
    """A table: the paper's 1 to 6, and ours.

    Attributes:
        title: what it compares.
        data: data set that it is made of unless --data says otherwise.
        systems: compared unless --methods says otherwise; those for two classes only where the data has two.
        fractions: how many of the data set's fractions, from the smallest; all of them where None.
        all_labels: whether the supervised systems are trained on all labels too, for the others to be measured by.
        settings: dotted key -> value, for every run.
        full_settings: likewise, at the scale 'full' only.
        sweep: what it varies beside the system and the fraction.
        compared: whether it sets every system against the best supervised one, image by image.
    """

    title: str
    data: str
    systems: tuple[str, ...] = tuple(name for name in SYSTEMS if METHOD_OF[name].of_paper)
    fractions: int | None = None
    all_labels: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    full_settings: Mapping[str, str] = field(default_factory=dict)
    sweep: Sweep | None = None
    compared: bool = False


BENCHMARK = tuple(name for name in SYSTEMS if METHOD_OF[name].classes is None)  # those that take any data
TABLES: Mapping[int, Table] = {
    1: Table("all systems by share of labels, tissue", "bcss", all_labels=True),
    2: Table("all systems by share of labels, nuclei", "monuseg", all_labels=True),
    3: Table(
        "all systems with ResNet-101",
        "bcss",
        all_labels=True,
        settings={"model.backbone": "resnet101"},
        full_settings={"model.pretrained": "timm/resnet101.tv_in1k"},
    ),
    4: Table("schemes of CRCFP", "bcss", ("supervised", "cac", "crcfp_s2", "crcfp")),
    5: Table(
        "number of negatives",
        "bcss",
        ("crcfp",),
        fractions=1,
        sweep=Sweep(
            "contrastive.negatives",
            "negatives",
            "negatives",
            (100, 500, 1200, 1600, 2400, 3200),
        ),
    ),
    6: Table(
        "auxiliary classifiers per perturbation, K",
        "bcss",
        ("crcfp",),
        fractions=1,
        sweep=Sweep("cross_consistency.classifiers", "k", "K", (1, 2, 4, 6, 8, 10)),
    ),
    7: Table("all systems on few labels; not in the paper", "glas", BENCHMARK, compared=True),
    8: Table(
        "length of training on few labels; not in the paper",
        "glas",
        ("supervised", "context_match"),
        fractions=1,
        sweep=Sweep(STEPS, "steps", "steps", (1, 2, 3), times=True),
        compared=True,
    ),
}
