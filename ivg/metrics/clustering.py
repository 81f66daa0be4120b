"""How well clusters agree with classes that were never shown, and k-means to compare with.

`labels` are the true classes, `clusters` what a method assigned, integers `[N]`. Both are names,
not indices: they may have gaps and differ in number, and a cluster may be called -1. A negative
*label* means "not labelled" and is refused. Nothing here touches an accelerator.
"""

import math
import warnings

import numpy as np
import scipy.optimize

from ivg.errors import UserError
from ivg.metrics.disentanglement.checks import at_least, usable_seed

MOST = 1e15  # of a pixel, for k-means


def one_to_one(labels: np.ndarray, clusters: np.ndarray) -> tuple[float, dict[int, int]]:
    """Accuracy under the best one-to-one map from clusters to classes (Hungarian matching).

    With more clusters than classes, or fewer, some stay without a partner and count as wrong. The
    map is fitted on the very data that are scored, as is usual for this number.

    Args:
        labels: True classes, `[N]`.
        clusters: Assigned clusters, `[N]`.

    Returns:
        The accuracy in [0, 1] and the map from matched clusters to classes.

    Raises:
        UserError: The arrays do not describe the same, at least one, labelled examples.

    Examples:
        >>> from ivg.metrics import clustering
        >>> labels, clusters = np.array([0, 0, 1, 1]), np.array([7, 7, 3, 7])
        >>> clustering.one_to_one(labels, clusters)
        (0.75, {3: 1, 7: 0})
    """
    labels, clusters = _checked(labels, clusters)
    table, cluster_names, class_names = _contingency(labels, clusters)
    rows, columns = scipy.optimize.linear_sum_assignment(table, maximize=True)
    pairs = zip(rows, columns, strict=True)
    mapping = {int(cluster_names[i]): int(class_names[j]) for i, j in pairs}
    return float(table[rows, columns].sum() / len(labels)), mapping


def many_to_one(
    labels: np.ndarray,
    clusters: np.ndarray,
    *,
    train_labels: np.ndarray | None = None,
    train_clusters: np.ndarray | None = None,
) -> tuple[float, dict[int, int]]:
    """Accuracy when every cluster stands for the most frequent class in it.

    Fitted on the scored data it rewards many clusters (one per example scores 1), so the map can
    be fitted on the training split instead; a cluster that never occurs there counts as wrong.

    Args:
        labels: True classes, `[N]`.
        clusters: Assigned clusters, `[N]`.
        train_labels: True classes that the map is fitted on, `[M]`; by default `labels`.
        train_clusters: Their clusters, `[M]`; by default `clusters`.

    Returns:
        The accuracy in [0, 1] and the map; of classes equally frequent the smallest is taken.

    Raises:
        UserError: The arrays do not describe the same, at least one, labelled examples, or only one
            of the training arrays is given.

    Examples:
        >>> from ivg.metrics import clustering
        >>> labels, clusters = np.array([0, 0, 1, 1]), np.array([5, 6, 7, 7])
        >>> clustering.many_to_one(labels, clusters)  # one to one it would be 0.75
        (1.0, {5: 0, 6: 0, 7: 1})
    """
    if (train_labels is None) != (train_clusters is None):
        raise UserError("the map from clusters to classes needs training labels and clusters both")
    labels, clusters = _checked(labels, clusters)
    if train_labels is None:
        train_labels, train_clusters = labels, clusters
    train_labels, train_clusters = _checked(train_labels, train_clusters)
    table, cluster_names, class_names = _contingency(train_labels, train_clusters)
    majority = class_names[np.argmax(table, axis=1)]
    mapping = dict(zip(cluster_names.tolist(), majority.tolist(), strict=True))
    # Labels are never negative, so -1 agrees with none.
    predicted = np.array([mapping.get(cluster, -1) for cluster in clusters.tolist()])
    return float(np.mean(predicted == labels)), mapping


def nmi(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Normalised mutual information, 2 I / (H(labels) + H(clusters)), in [0, 1].

    Args:
        labels: True classes, `[N]`.
        clusters: Assigned clusters, `[N]`.

    Returns:
        The score: 1 for equal partitions.

    Raises:
        UserError: The arrays do not describe the same, at least one, labelled examples.

    Examples:
        >>> from ivg.metrics import clustering
        >>> labels = np.array([0, 0, 1, 1])
        >>> [round(clustering.nmi(labels, np.array(c)), 3) for c in ([1, 1, 0, 0], [0, 1, 0, 1])]
        [1.0, 0.0]
    """
    labels, clusters = _checked(labels, clusters)
    import sklearn.metrics  # slow, like all of scikit-learn: not at every start of the program

    return float(sklearn.metrics.normalized_mutual_info_score(labels, clusters))


def ari(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Adjusted Rand index: 1 for equal partitions, 0 expected by chance.

    Args:
        labels: True classes, `[N]`.
        clusters: Assigned clusters, `[N]`.

    Returns:
        The score, in [-0.5, 1].

    Raises:
        UserError: The arrays do not describe the same, at least one, labelled examples.

    Examples:
        >>> from ivg.metrics import clustering
        >>> clustering.ari(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
        1.0
    """
    labels, clusters = _checked(labels, clusters)
    import sklearn.metrics

    return float(sklearn.metrics.adjusted_rand_score(labels, clusters))


def scores(
    labels: np.ndarray,
    clusters: np.ndarray,
    train_labels: np.ndarray,
    train_clusters: np.ndarray,
) -> dict[str, float]:
    """The four scores of this module on the test split.

    Args:
        labels: True classes of the test split, `[N]`.
        clusters: Its clusters, `[N]`.
        train_labels: True classes of the training split, `[M]`: only the many-to-one map uses them.
        train_clusters: Its clusters, `[M]`.

    Returns:
        `accuracy_one_to_one` (the headline), `accuracy_many_to_one` with its map from the training
        split, `nmi` and `ari`.

    Raises:
        UserError: A split's arrays do not describe the same, at least one, labelled examples.
    """
    one, _ = one_to_one(labels, clusters)
    many, _ = many_to_one(
        labels, clusters, train_labels=train_labels, train_clusters=train_clusters
    )
    return {
        "accuracy_one_to_one": one,
        "accuracy_many_to_one": many,
        "nmi": nmi(labels, clusters),
        "ari": ari(labels, clusters),
    }


def kmeans(
    train_images: np.ndarray, test_images: np.ndarray, *, num_clusters: int, seed: int
) -> np.ndarray:
    """Clusters of the test images by k-means on the pixels of the training images.

    Args:
        train_images: Images to fit on, `[M, ...]`, of any scale; uint8 is as good as float.
        test_images: Images to assign, `[N, ...]`, of the same shape and scale.
        num_clusters: Number of clusters, at most M.
        seed: Seed of the ten initialisations, of which the best is kept.

    Returns:
        Clusters of the test images, `[N]`, in 0..num_clusters-1.

    Raises:
        UserError: The two splits differ in image shape, there are fewer images than clusters, or
            values that are no finite numbers.

    Examples:
        >>> from ivg.metrics import clustering
        >>> images = np.repeat(np.uint8([[10], [200]]), 5, axis=0)  # five dark, five light
        >>> found = clustering.kmeans(images, images, num_clusters=2, seed=0)
        >>> clustering.one_to_one(np.repeat([0, 1], 5), found)[0]
        1.0
    """
    train_images, test_images = np.asarray(train_images), np.asarray(test_images)
    at_least(1, num_clusters=num_clusters)
    seed = usable_seed(seed)
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"k-means needs training and test images of one shape, not {train_images.shape[1:]} "
            f"and {test_images.shape[1:]}"
        )
    if len(train_images) < num_clusters:
        raise UserError(
            f"k-means cannot make {num_clusters} clusters of {len(train_images)} images: ask for "
            "fewer clusters or give more images"
        )
    import sklearn.cluster
    import sklearn.exceptions

    model = sklearn.cluster.KMeans(num_clusters, n_init=10, random_state=seed)
    train, test = _pixels("training", train_images), _pixels("test", test_images)
    # Equal images cannot fill all clusters: fewer are used then.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        model.fit(train)
    return model.predict(test) if len(test) else np.zeros(0, np.int32)


def _pixels(part: str, images: np.ndarray) -> np.ndarray:
    """Images as float32 `[N, pixels]`."""
    if not images.ndim or images.dtype.kind not in "fiub":
        raise UserError(
            f"{part} images must be numbers [N, ...], not {images.dtype} of shape {images.shape}"
        )
    pixels = images.reshape(len(images), math.prod(images.shape[1:]))
    # Squares of larger ones overflow in float32; NaN is not below either.
    if pixels.size and not (-MOST <= pixels.min() and pixels.max() <= MOST):
        raise UserError(
            f"{part} images are NaN, infinite or beyond {MOST:g}: leave such images out or rescale"
        )
    return pixels.astype(np.float32)


def _checked(labels: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, clusters = np.atleast_1d(labels), np.atleast_1d(clusters)
    if len(labels) != len(clusters):
        raise UserError(
            f"{len(labels)} labels and {len(clusters)} clusters cannot be compared: give one of "
            "each per example"
        )
    if len(labels) == 0:
        raise UserError("no examples to score: labels and clusters are empty")
    for name, array in (("labels", labels), ("clusters", clusters)):
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise UserError(
                f"{name} must be whole numbers, one per example, not {array.dtype} of shape "
                f"{array.shape}"
            )
    if labels.min() < 0:
        raise UserError(
            f"label {labels.min()} is negative: leave examples without a label out before scoring"
        )
    return labels, clusters


def _contingency(
    labels: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts [clusters, classes], and the names of its rows and columns in ascending order."""
    cluster_names, rows = np.unique(clusters, return_inverse=True)
    class_names, columns = np.unique(labels, return_inverse=True)
    shape = (len(cluster_names), len(class_names))
    cells = np.ravel_multi_index((rows, columns), shape)
    return np.bincount(cells, minlength=np.prod(shape)).reshape(shape), cluster_names, class_names
