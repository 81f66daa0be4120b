"""Scores: pure functions of arrays, computed on the host.

Each works on arrays from anywhere; a trained model and its data give them like this:

    import ivg
    from ivg.data.batches import take
    from ivg.model import dataset

    model = ivg.load("runs/digits")
    test = dataset(model).test                              # images, labels, attributes, factors
    images = take(test.images, range(len(test.images)))
    codes = model.encode(images)                            # attributes=test.attributes for some

Clusters, such as `codes["d"].argmax(1)`, against labels; `one_to_one` also says which cluster is
which class. The many-to-one map is fitted on training examples:

>>> import numpy as np
>>> from ivg.metrics import clustering
>>> labels, clusters = np.array([0, 0, 1, 1, 2, 2]), np.array([5, 5, 3, 3, 3, 4])
>>> found = clustering.scores(labels, clusters, train_labels=labels, train_clusters=clusters)
>>> {name: round(value, 2) for name, value in found.items()}
{'accuracy_one_to_one': 0.83, 'accuracy_many_to_one': 0.83, 'nmi': 0.74, 'ari': 0.44}

Codes `[N, D]` against true factors `[N, F]`, numbered from 0: one function each, or `evaluate`,
which runs several over several seeds (FactorVAE's votes too, from `from_arrays(codes, factors)`):

>>> from ivg.metrics import disentanglement
>>> rng = np.random.default_rng(0)
>>> factors = rng.integers(0, 4, (2000, 2))
>>> codes = factors + rng.normal(0, 0.1, (2000, 2))
>>> round(disentanglement.mig(codes, factors).value, 2)
0.99
>>> source = disentanglement.from_arrays(codes, factors)
>>> scores = disentanglement.evaluate(source, metrics=("mig", "sap_continuous"), seeds=(0, 1))
>>> round(scores["sap_continuous"]["mean"], 2)
0.99

What of each factor can be predicted from a code, and so leaked into it; `targets` are a data set's
`factors`, or any records with these fields:

>>> from types import SimpleNamespace
>>> from ivg.metrics import leakage
>>> hat = SimpleNamespace(name="hat", kind="attribute", values=2, owner="")
>>> y = factors[:, :1] > 1
>>> leak = leakage.leakage(codes[:1500], codes[1500:], y[:1500], y[1500:], targets=[hat])
>>> leak.rows[0]["measure"], round(leak.rows[0]["boosted"], 1)
('accuracy', 1.0)

Features of real and of generated images, `[N, D]` and `[M, D]`, of any network: the Frechet
distance, the kernel distance (KID), precision and recall, alone (`frechet.distance`,
`kid.kernel_distance`, `precision_recall.precision_recall`) or together:

>>> from ivg.metrics import feature_scores
>>> real, generated = rng.normal(0, 1, (500, 4)), rng.normal(0.5, 1, (500, 4))
>>> found = feature_scores.compare(real, generated)
>>> round(found["distance"], 1), found["precision"] > 0.8
(1.1, True)

Reconstructions against their images:

>>> from ivg.metrics import reconstruction
>>> images = rng.integers(0, 256, (10, 8, 8, 1), np.uint8)
>>> reconstruction.mean_squared_error(images, images)
0.0

Models among each other, without labels: `selection.udr` and `selection.model_centrality`. Scores
that train networks stand in `ivg.probes`: `mine.estimate`, the mutual information of any two
arrays, and `classifier`, which judges swapped attributes.
"""

from ivg.metrics import clustering

__all__ = ["clustering"]
