"""The columns of a study's tables: a column is one row here, with its name, type, meaning and unit."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, get_args

import pyarrow as pa

from mmssl.objectives import OBJECTIVES
from mmssl.recipe import MODALITIES, Recipe
from mmssl.study.space import Cost

COSTS = get_args(Cost)
"""Columns of what encoders cost."""
PROBE = "probe.accuracy"
"""Name of the score of a linear classifier in the midst of pre-training."""

_TEXT, _TEXTS, _YES_OR_NO, _WHOLE, _REAL = pa.string(), pa.list_(pa.string()), pa.bool_(), pa.int64(), pa.float64()
_TIME = pa.timestamp("us", "UTC")
_SHARE = "0 to 1"
_KNOB_TYPES: dict[type, pa.DataType] = {str: _TEXT, bool: _YES_OR_NO, int: _WHOLE, float: _REAL, list: _TEXTS}
_PROGRAMS = ("mmssl", "python", "torch", "cuda", "cudnn", "ray", "optuna")


class ColumnSpec(NamedTuple):
    """One column, or several that mean the same: MODALITY, KNOB and PROGRAM in a name stand for each of them."""

    name: str
    type: pa.DataType | None
    """None: as the knob's."""
    meaning: str
    """A line of Markdown."""
    unit: str = ""

    @property
    def fields(self) -> list[pa.Field]:
        """What it is in a table, or what they are."""
        if "KNOB" in self.name:
            knobs = Recipe().knobs().items()
            return [pa.field(self.name.replace("KNOB", knob), _KNOB_TYPES[type(value)]) for knob, value in knobs]
        for word, names in (("MODALITY", MODALITIES), ("PROGRAM", _PROGRAMS)):
            if word in self.name:
                return [pa.field(self.name.replace(word, name), self.type) for name in names]
        return [pa.field(self.name, self.type)]


def _terms() -> Iterator[ColumnSpec]:
    """What objectives minimise: each term once, with the objectives that have it."""
    yield ColumnSpec("train.loss", _REAL, "what pre-training minimises")
    for term in dict.fromkeys(term for loss in OBJECTIVES.values() for term in loss.terms):
        having = {name: loss.terms[term] for name, loss in OBJECTIVES.items() if term in loss.terms}
        for meaning in dict.fromkeys(having.values()):
            names = ", ".join(name for name, its in having.items() if its == meaning)
            yield ColumnSpec(f"train.{term}", _REAL, f"{names}: {meaning}; null for other objectives")


_KEYS = [
    ColumnSpec("trial_id", _TEXT, "point x seed x fold: a hash of the recipe and of the data's fingerprint"),
    ColumnSpec("point_id", _TEXT, "the same for all seeds and folds of a point"),
    ColumnSpec("seed", _WHOLE, "every random draw of the trial comes from it"),
    ColumnSpec(
        "fold",
        _TEXT,
        "the held-out training subjects, joined by `+`; `test` where the test subjects are scored",
    ),
]
_SCORES = [
    ColumnSpec(
        "val.accuracy",
        _REAL,
        "share of the held-out subjects' recordings classified right, from all modalities together",
        _SHARE,
    ),
    ColumnSpec("val.f1", _REAL, "F1, mean over the classes present there", _SHARE),
    ColumnSpec(
        "val.MODALITY.accuracy",
        _REAL,
        "as `val.accuracy`, from one modality of a pair, by a head of its own; null where one modality was trained",
        _SHARE,
    ),
    ColumnSpec("val.MODALITY.f1", _REAL, "as `val.f1`, from one modality of a pair", _SHARE),
    ColumnSpec(
        "test.accuracy",
        _REAL,
        "of the test subjects' recordings, in a study with `folds: test`; null in every other",
        _SHARE,
    ),
    ColumnSpec("test.f1", _REAL, "as `val.f1`, of the test subjects; null but with `folds: test`", _SHARE),
    ColumnSpec("test.MODALITY.accuracy", _REAL, "as `test.accuracy`, from one modality of a pair", _SHARE),
    ColumnSpec("test.MODALITY.f1", _REAL, "as `test.f1`, from one modality of a pair", _SHARE),
]
_SCALED = ", ".join(name for name, loss in OBJECTIVES.items() if loss.holds_scale)
_TRAINING = [
    *_terms(),
    ColumnSpec(
        "train.MODALITY.std",
        _REAL,
        "standard deviation of the embeddings in the epoch's last batch, mean over dimensions; of embeddings scaled to "
        f"length sqrt(D) where the objective does not hold their scale itself (all but {_SCALED})",
    ),
    ColumnSpec("train.MODALITY.effective_rank", _REAL, "RankMe (Garrido et al. 2023) of the same embeddings"),
    ColumnSpec("train.MODALITY.covariance", _REAL, "covariance term of the same embeddings"),
]
_EMBEDDINGS = [
    ColumnSpec(
        "embedding.MODALITY.std",
        _REAL,
        "as `train.MODALITY.std`, of the recordings that pre-training saw (of more than 1,024 a random 1,024, the same "
        "in every trial), not augmented, by the encoders as they are at the end; null where the encoders were "
        "fine-tuned too",
    ),
    ColumnSpec(
        "embedding.MODALITY.effective_rank",
        _REAL,
        "RankMe of these embeddings; its mean over the modalities is `rankme` in `best --by` and `results --metric`",
    ),
    ColumnSpec("embedding.MODALITY.covariance", _REAL, "covariance term of these embeddings"),
]
_FINETUNE = [
    ColumnSpec(
        "train.finetune.loss", _REAL, "cross-entropy of the head of all modalities together, in fine-tuning", "nats"
    ),
    ColumnSpec(
        "train.finetune.accuracy",
        _REAL,
        "share of the training recordings with labels that this head classifies right",
        _SHARE,
    ),
]

TABLES: dict[str, list[ColumnSpec]] = {
    "trials": [
        *_KEYS,
        ColumnSpec("status", _TEXT, "PLANNED, RUNNING, COMPLETE, FAILED, DIVERGED, COLLAPSED or PRUNED"),
        ColumnSpec("cause", _TEXT, "why it did not complete: epoch and term, or the error"),
        ColumnSpec("traceback", _TEXT, "of an error"),
        ColumnSpec("recipe", _TEXT, "where the knobs start from: `default` or `paper`"),
        ColumnSpec("system", _TEXT, "what was trained; `mmssl-tune systems` lists them"),
        ColumnSpec("variant", _TEXT, "name of the knobs that were changed together; null in a space without variants"),
        ColumnSpec(
            "param.KNOB",
            None,
            "a knob of the recipe, searched or not; what each means is in [spaces.md](spaces.md)",
        ),
        *_SCORES,
        *_TRAINING,
        *_EMBEDDINGS,
        *_FINETUNE,
        ColumnSpec("encoders.parameters", _WHOLE, "of the encoders, all modalities together"),
        ColumnSpec(
            "encoders.flops",
            _WHOLE,
            "floating-point operations of the encoders for one recording, matrix products and convolutions counted",
        ),
        ColumnSpec(
            "seconds.pretrain",
            _REAL,
            "wall clock of pre-training; of reading it where another trial had trained it",
            "s",
        ),
        ColumnSpec("seconds.finetune", _REAL, "wall clock of fine-tuning", "s"),
        ColumnSpec("seconds.score", _REAL, "wall clock of scoring", "s"),
        ColumnSpec("seconds.total", _REAL, "wall clock of the trial", "s"),
        ColumnSpec("started", _TIME, "when it began", "UTC"),
        ColumnSpec("finished", _TIME, "when it ended", "UTC"),
        ColumnSpec("subjects.train", _TEXTS, "who trains"),
        ColumnSpec("subjects.validation", _TEXTS, "who validates; nobody where the test subjects are scored"),
        ColumnSpec("recordings.train", _WHOLE, "how many recordings train"),
        ColumnSpec("recordings.labelled", _WHOLE, "how many of them have labels in fine-tuning (`finetune.labels`)"),
        ColumnSpec(
            "recordings.validation",
            _WHOLE,
            "how many recordings are scored (those of the test subjects with `folds: test`)",
        ),
        ColumnSpec(
            "pretraining_id",
            _TEXT,
            "the same for trials that differ in fine-tuning alone: they have the same encoders before it",
        ),
        ColumnSpec("pretraining_reused", _YES_OR_NO, "whether another trial had trained it"),
        ColumnSpec(
            "pretrained_together",
            _WHOLE,
            "how many were pre-trained as one model with it (`--together`), itself counted: the same losses but for "
            "the floats' rounding; `seconds.pretrain` of the trial that did it is that of all; null where it trained "
            "alone",
        ),
        ColumnSpec("host", _TEXT, "machine on which it ran"),
        ColumnSpec("device", _TEXT, "the GPU, or cpu"),
        ColumnSpec("threads", _WHOLE, "that torch computed with on the CPU"),
        ColumnSpec("hardware.cpu", _TEXT, "model of the processor"),
        ColumnSpec("hardware.cpu_capability", _TEXT, "vector instructions that torch uses of it, as AVX2 or AVX512"),
        ColumnSpec("hardware.gpu_driver", _TEXT, "version of the GPU's driver; null on a CPU"),
        ColumnSpec("hardware.cores", _WHOLE, "of the machine"),
        ColumnSpec("hardware.memory", _WHOLE, "of the machine", "bytes"),
        ColumnSpec("determinism.algorithms", _YES_OR_NO, "`torch.are_deterministic_algorithms_enabled()`"),
        ColumnSpec("determinism.cudnn", _YES_OR_NO, "`torch.backends.cudnn.deterministic`"),
        ColumnSpec("determinism.cudnn_benchmark", _YES_OR_NO, "`torch.backends.cudnn.benchmark`"),
        ColumnSpec("determinism.cublas_workspace", _TEXT, "`$CUBLAS_WORKSPACE_CONFIG`; null where it is not set"),
        ColumnSpec(
            "version.PROGRAM",
            _TEXT,
            "version of it that ran the trial; `cuda` and `cudnn` only of a trial on a GPU",
        ),
        ColumnSpec(
            "packages",
            _TEXT,
            "digest of the names and versions of all that is installed; the list is `environments/DIGEST.json`",
        ),
        ColumnSpec("git.commit", _TEXT, "of a checkout; null where the package is installed"),
        ColumnSpec(
            "git.clean",
            _YES_OR_NO,
            "whether nothing in the checkout was changed; null where the package is installed",
        ),
        ColumnSpec(
            "code",
            _TEXT,
            "digest of the package's code that the trial's worker ran: the driver's, or the trial was refused",
        ),
        ColumnSpec("data.name", _TEXT, "name of the data set"),
        ColumnSpec("data.fingerprint", _TEXT, "SHA-256 over every recording and its description"),
    ],
    "epochs": [
        *_KEYS,
        ColumnSpec(
            "phase",
            _TEXT,
            "`guide.imu` and `guide.skeleton` before a guided objective, `pretrain`, `finetune`",
        ),
        ColumnSpec("epoch", _WHOLE, "from 1 in each phase"),
        *_TRAINING,
        *_FINETUNE,
        ColumnSpec(
            PROBE,
            _REAL,
            "what a ridge classifier on the encoders scores on the held-out subjects in the midst of pre-training, of "
            "trials that are probed (`prune` in a space)",
            _SHARE,
        ),
    ],
    "predictions": [
        *_KEYS,
        ColumnSpec("split", _TEXT, "`val`, or `test` with `folds: test`"),
        ColumnSpec("recording_id", _TEXT, "the recording's, as in its data set"),
        ColumnSpec("subject", _TEXT, "who is recorded"),
        ColumnSpec("label", _TEXT, "class name"),
        ColumnSpec("predicted", _TEXT, "class name that the head of all modalities together gives"),
        ColumnSpec("confidence", _REAL, "probability of the predicted class", _SHARE),
    ],
}
"""By the table's name, in the order of its columns."""


def _schema(specs: Iterable[ColumnSpec]) -> pa.Schema:
    """Of columns for each modality, those of one modality stand together."""
    fields: list[pa.Field] = []
    for _, group in groupby(specs, key=lambda one: (one.name.partition(".")[0], "MODALITY" in one.name)):
        fields += [field for alike in zip(*(one.fields for one in group), strict=True) for field in alike]
    return pa.schema(fields)


SCHEMAS = {name: _schema(specs) for name, specs in TABLES.items()}
TRIALS, EPOCHS, PREDICTIONS = SCHEMAS.values()
KEYS = [one.name for one in _KEYS]
SCORES = [name for name in TRIALS.names if name.startswith(("val.", "test."))]
"""Columns of what a side scored, by all modalities together and, of a pair, by each alone."""
