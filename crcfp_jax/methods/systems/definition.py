"""A method as data: what it looks at, what it learns from that, and how tables and figures show it.

A term that a method lacks does not exist in its compiled step: no forward pass, no parameters, no memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crcfp_jax.methods.systems.palette import BLUE

SOURCES = ("image", "unlabelled", "view_a", "view_b")  # keys of a batch that hold images
AUGMENTATIONS = ("none", "weak", "strong", "strong_view")
DROPOUTS = ("", "half", "other_half")
NEEDS = ("bank", "projector", "perturbations", "overlap")


@dataclass(frozen=True)
class Stream:
    """Images that pass through the network in a step.

    Attributes:
        name: what terms call it; 'labelled' is the labelled crops' own.
        source: key of the batch: 'unlabelled' (the whole image), 'view_a' and 'view_b' (two crops of it that overlap,
            scaled and flipped at random as the labelled ones are), 'image' (the labelled crops).
        augmentation: of the colours: 'strong' (`config.augment`), 'weak' (a part of its jitter), 'strong_view'
            (`config.strong_view`) or 'none'. Streams of the same source get draws of their own.
        teacher: whether the mean teacher looks at it instead of the network that learns.
        cutmix: whether boxes of it come from the next image (`methods.mixing`); a term mixes its targets likewise.
        dropout: channels of the encoder's maps that it keeps: '' all, 'half' a random half, 'other_half' what streams
            with 'half' lack.
    """

    name: str
    source: str
    augmentation: str = "strong"
    teacher: bool = False
    cutmix: bool = False
    dropout: str = ""


@dataclass(frozen=True)
class Term:
    """A term of the loss.

    Attributes:
        name: as in `loss/NAME` of the metrics, and the key of its function in `terms.registry`.
        streams: names of the streams that it looks at, in the order in which its function takes them.
        weight: key of the config that holds its factor in the total.
        meaning: what it asks for, in half a sentence.
        ramp: key of the share of the steps, after the supervised beginning, until it has its full weight; '': at once.
        needs: what else it takes, of `NEEDS`: 'bank' of negatives, 'projector', 'perturbations' (auxiliary classifiers
            on perturbed features), 'overlap' (the place of view b in view a).
        pushes: of its streams, those whose cells go into the bank.
        keys: role -> key of the config that plays it. Known everywhere are 'negatives' (pushed a step), 'accept' (what
            lets more places count where it is lower), 'bank_accept' (likewise, for what goes into the bank),
            'perturbations' and 'classifiers' (of each, or of all); a term's function may ask for others.
    """

    name: str
    streams: tuple[str, ...]
    weight: str
    meaning: str
    ramp: str = ""
    needs: tuple[str, ...] = ()
    pushes: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


LABELLED = Stream("labelled", "image")
SUPERVISED = Term("supervised", ("labelled",), "weights.supervised", "cross-entropy on the labelled crops")


@dataclass(frozen=True)
class Variant:
    """A method with settings that tables and figures show as a system of its own.

    Attributes:
        name: what --methods calls it, and its part in the names of run folders.
        title: what tables call it.
        label: what figures call it, which have less room.
        settings: dotted key of the config -> value, as on the command line, beside the method's name.
        colour, marker: in figures.
        rank: of the supervised systems, and of the others, the one with the greatest is set against the other kind.
    """

    name: str
    title: str
    label: str
    settings: Mapping[str, str] = field(default_factory=dict)
    colour: str = BLUE
    marker: str = "h"
    rank: int = 0


@dataclass(frozen=True)
class Method:
    """What one training step optimises beside the supervised term, which every method has.

    Attributes:
        name: `config.method`.
        description: in half a sentence.
        variants: as what tables and figures show it.
        streams: unlabelled images, in the order in which they are encoded.
        terms: of the loss; any can be combined, but those that would share the bank or the perturbations.
        predictions: the stream whose predictions are reported; '': a term reports those of its own cells.
        confidence: key of the probability from which on a prediction is reported as confident.
        teacher_decay: key of the share of its parameters that the mean teacher keeps at a step; '': there is none.
        inference: whose parameters and statistics its source evaluates: the 'student', which learns, or the 'teacher'.
        classes: how many classes the data must have; None: any number.
        of_paper: whether the paper's tables compare it.
        same_as: the method with the same terms that is run in its place in tables.
    """

    name: str
    description: str
    variants: tuple[Variant, ...]
    streams: tuple[Stream, ...] = ()
    terms: tuple[Term, ...] = ()
    predictions: str = ""
    confidence: str = "contrastive.threshold"
    teacher_decay: str = ""
    inference: str = "student"
    classes: int | None = None
    of_paper: bool = False
    same_as: str = ""

    def __post_init__(self):
        for problem in self._problems():
            raise ValueError(f"method {self.name}: {problem}")

    def _problems(self):
        names = [stream.name for stream in (LABELLED, *self.streams)]
        if len(set(names)) < len(names) or len({term.name for term in self.all_terms}) < len(self.all_terms):
            yield "two streams or two terms have the same name"
        for stream in self.streams:
            if stream.source not in SOURCES or stream.augmentation not in AUGMENTATIONS:
                yield f"stream {stream.name!r} is not from {SOURCES} with an augmentation of {AUGMENTATIONS}"
            if stream.dropout not in DROPOUTS or (stream.teacher and (stream.dropout or stream.cutmix)):
                yield f"stream {stream.name!r}: dropout is one of {DROPOUTS}, and a teacher has neither it nor cutmix"
        seen = {name for term in self.terms for name in term.streams} | set(filter(None, [self.predictions]))
        for name in sorted(seen ^ set(names[1:])):
            yield f"a stream {name!r} is not defined" if name in seen else f"no term looks at stream {name!r}"
        for term in self.terms:
            if unknown := sorted(set(term.needs) - set(NEEDS)):
                yield f"{term.name!r} needs {unknown[0]!r}, which is none of {NEEDS}"
            if not set(term.pushes) <= set(term.streams):
                yield f"{term.name!r} pushes what it doesn't look at"
            if ("bank" in term.needs) != bool(term.pushes and "negatives" in term.keys):
                yield f"{term.name!r}: what needs the bank, and nothing else, pushes a number of negatives"
            if ("perturbations" in term.needs) != ({"perturbations", "classifiers"} <= set(term.keys)):
                yield f"{term.name!r}: what needs perturbations, and nothing else, has keys of them and of classifiers"
        for need, what in (("bank", "memory bank"), ("perturbations", "perturbations")):
            if len(sharing := [term.name for term in self.terms if need in term.needs]) > 1:
                yield f"{' and '.join(map(repr, sharing))} can't share the {what}"
        if any(stream.teacher for stream in self.streams) != bool(self.teacher_decay):
            yield "a teacher's stream, and nothing else, needs the key of the teacher's decay"
        if self.inference not in ("student", "teacher") or (self.inference == "teacher" and not self.teacher_decay):
            yield f"inference is by the 'student', or by the 'teacher' where there is one, not {self.inference!r}"

    @property
    def all_terms(self) -> tuple[Term, ...]:
        """The supervised term, then the others."""
        return (SUPERVISED, *self.terms)

    @property
    def sources(self) -> tuple[str, ...]:
        """Keys of the batch that hold the unlabelled images it looks at."""
        return tuple(dict.fromkeys(stream.source for stream in self.streams if stream.source != LABELLED.source))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the batch that a step reads."""
        return ("image", "label", *self.sources, *(("offset", "flip") if self.needing("overlap") else ()))

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the config that its terms name."""
        own = {key for term in self.all_terms for key in (term.weight, term.ramp, *term.keys.values())}
        return frozenset(own | {self.confidence, self.teacher_decay}) - {""}

    def needing(self, need: str) -> Term | None:
        """The first term that needs something, or None."""
        return next((term for term in self.terms if need in term.needs), None)

    def term(self, name: str) -> Term | None:
        """The term of this name, or None."""
        return next((term for term in self.all_terms if term.name == name), None)
