"""What the columns of a study's tables mean; their names and types are in `mmssl.study.folder`."""

from mmssl.recipe import MODALITIES

MEANINGS = {
    "trial_id": "point x seed x fold: a hash of the recipe and of the data's fingerprint",
    "point_id": "the same for all seeds and folds of a point",
    "seed": "every random draw of the trial comes from it",
    "fold": "the held-out training subjects, joined by `+`; `test` where the test subjects are scored",
    "status": "PLANNED, RUNNING, COMPLETE, FAILED, DIVERGED, COLLAPSED or PRUNED",
    "cause": "why it did not complete: epoch and term, or the error",
    "traceback": "of an error",
    "recipe": "where the knobs start from: `default` or `paper`",
    "system": "what was trained; `mmssl-tune systems` lists them",
    "variant": "name of the knobs that were changed together; null in a space without variants",
    "param.KNOB": "a knob of the recipe, searched or not; what each means is in [spaces.md](spaces.md)",
    "val.accuracy": "share of the held-out subjects' recordings classified right, from all modalities together",
    "val.f1": "F1, mean over the classes present there",
    "val.MODALITY.accuracy": "as `val.accuracy`, from one modality of a pair, by a head of its own; null where one "
    "modality was trained",
    "val.MODALITY.f1": "as `val.f1`, from one modality of a pair",
    "test.accuracy": "of the test subjects' recordings, in a study with `folds: test`; null in every other",
    "test.f1": "as `val.f1`, of the test subjects; null but with `folds: test`",
    "test.MODALITY.accuracy": "as `test.accuracy`, from one modality of a pair",
    "test.MODALITY.f1": "as `test.f1`, from one modality of a pair",
    "train.loss": "what pre-training minimises; for vicreg lambda x invariance + mu x variance + nu x covariance",
    "train.invariance": "vicreg's term, not weighted; null for other objectives",
    "train.variance": "vicreg's term, summed over the branches, not weighted; null for other objectives",
    "train.covariance": "vicreg's term, summed over the branches, not weighted; null for other objectives",
    "train.on_diagonal": "barlow_twins: squared distances of the correlations on the diagonal from 1, summed",
    "train.off_diagonal": "barlow_twins: squares of the other correlations, summed, not weighted",
    "train.positive": "simclr, cmc, cmc_cmkm: mean cosine similarity of the positive pairs",
    "train.negative": "simclr, cmc, cmc_cmkm: mean cosine similarity of the negative pairs",
    "train.MODALITY.std": "standard deviation of the embeddings in the epoch's last batch, mean over dimensions; of "
    "embeddings scaled to length sqrt(D) where the objective does not hold their scale itself (all but vicreg)",
    "train.MODALITY.effective_rank": "RankMe (Garrido et al. 2023) of the same embeddings",
    "train.MODALITY.covariance": "covariance term of the same embeddings",
    "embedding.MODALITY.std": "as `train.MODALITY.std`, of the recordings that pre-training saw (of more than 1,024 a "
    "random 1,024, the same in every trial), not augmented, by the encoders as they are at the end; null where the "
    "encoders were fine-tuned too",
    "embedding.MODALITY.effective_rank": "RankMe of these embeddings; its mean over the modalities is `rankme` in "
    "`best --by` and `results --metric`",
    "embedding.MODALITY.covariance": "covariance term of these embeddings",
    "train.finetune.loss": "cross-entropy of the head of all modalities together, in fine-tuning",
    "train.finetune.accuracy": "share of the training recordings with labels that this head classifies right",
    "encoders.parameters": "of the encoders, all modalities together",
    "encoders.flops": "floating-point operations of the encoders for one recording, matrix products and convolutions "
    "counted",
    "seconds.pretrain": "wall clock of pre-training; of reading it where another trial had trained it",
    "seconds.finetune": "wall clock of fine-tuning",
    "seconds.score": "wall clock of scoring",
    "seconds.total": "wall clock of the trial",
    "started": "when it began",
    "finished": "when it ended",
    "subjects.train": "who trains",
    "subjects.validation": "who validates; nobody where the test subjects are scored",
    "recordings.train": "how many recordings train",
    "recordings.labelled": "how many of them have labels in fine-tuning (`finetune.labels`)",
    "recordings.validation": "how many recordings are scored (those of the test subjects with `folds: test`)",
    "pretraining_id": "the same for trials that differ in fine-tuning alone: they have the same encoders before it",
    "pretraining_reused": "whether another trial had trained it",
    "pretrained_together": "how many were pre-trained as one model with it (`--together`), itself counted: the same "
    "losses but for the floats' rounding; `seconds.pretrain` of the trial that did it is that of all; null where it "
    "trained alone",
    "host": "machine on which it ran",
    "device": "the GPU, or cpu",
    "threads": "that torch computed with on the CPU",
    "hardware.cpu": "model of the processor",
    "hardware.cpu_capability": "vector instructions that torch uses of it, as AVX2 or AVX512",
    "hardware.cores": "of the machine",
    "hardware.memory": "of the machine, in bytes",
    "hardware.gpu_driver": "version of the GPU's driver; null on a CPU",
    "determinism.algorithms": "`torch.are_deterministic_algorithms_enabled()`",
    "determinism.cudnn": "`torch.backends.cudnn.deterministic`",
    "determinism.cudnn_benchmark": "`torch.backends.cudnn.benchmark`",
    "determinism.cublas_workspace": "`$CUBLAS_WORKSPACE_CONFIG`; null where it is not set",
    "packages": "digest of the names and versions of all that is installed; the list is `environments/DIGEST.json`",
    "version.PROGRAM": "version of it that ran the trial; `cuda` and `cudnn` only of a trial on a GPU",
    "git.commit": "of a checkout; null where the package is installed",
    "git.clean": "whether nothing in the checkout was changed; null where the package is installed",
    "code": "digest of the package's code that the trial's worker ran: the driver's, or the trial was refused",
    "data.name": "name of the data set",
    "data.fingerprint": "SHA-256 over every recording and its description",
    "phase": "`guide.imu` and `guide.skeleton` before cmc_cmkm, `pretrain`, `finetune`",
    "epoch": "from 1 in each phase",
    "probe.accuracy": "what a ridge classifier on the encoders scores on the held-out subjects in the midst of "
    "pre-training, of trials that are probed (`prune` in a space)",
    "split": "`val`, or `test` with `folds: test`",
    "recording_id": "the recording's, as in its data set",
    "subject": "who is recorded",
    "label": "class name",
    "predicted": "class name that the head of all modalities together gives",
    "confidence": "probability of the predicted class",
}
"""By `family` of columns, in Markdown."""


def family(column: str) -> str:
    """A column's name, with a placeholder where columns with different words there mean the same of each."""
    first, _, rest = column.partition(".")
    if first == "param":
        return "param.KNOB"
    if first == "version":
        return "version.PROGRAM"
    modality = rest.partition(".")[0]
    return column.replace(f".{modality}.", ".MODALITY.", 1) if modality in MODALITIES else column
