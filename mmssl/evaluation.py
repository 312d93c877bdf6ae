"""How good predictions are."""

import numpy as np
import numpy.typing as npt


def scores(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and macro F1, each between 0 and 1.

    F1 is averaged over the classes that have a recording among `labels`, so that a small split is not marked down for
    classes it does not hold. Written out because importing scikit-learn costs each worker more than a short trial;
    the tests hold it against scikit-learn.

    Raises:
        ValueError: there is no recording to score.
    """
    if len(labels) == 0:
        raise ValueError("no recording to score")
    hit = labels == predicted
    f1 = [2 * (hit & (labels == c)).sum() / ((labels == c).sum() + (predicted == c).sum()) for c in np.unique(labels)]
    return {"accuracy": float(hit.mean()), "f1": float(np.mean(f1))}
