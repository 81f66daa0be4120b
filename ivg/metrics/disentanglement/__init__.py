"""Disentanglement scores: does each code follow one known factor of variation?

One plain function each, of arrays (codes `[N, D]`, factors `[N, F]`) or of a source that the
protocol samples from, to a `Score`: the value, what stands behind it, and the recipe it was made
with. `evaluate` runs several over several seeds; on the command line:
`python -m ivg.metrics.disentanglement codes.npz`. Settings are those of Locatello et al. (2019),
"Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations".
"""

from ivg.metrics.disentanglement.checks import Score
from ivg.metrics.disentanglement.evaluate import ALL, FAST, evaluate
from ivg.metrics.disentanglement.information import mig, modularity
from ivg.metrics.disentanglement.interventional import irs
from ivg.metrics.disentanglement.predictors import dci, explicitness, sap_continuous, sap_discrete
from ivg.metrics.disentanglement.sources import (
    LARGEST_TABLE,
    Representation,
    Rows,
    from_arrays,
    from_encoder,
    remembered,
)
from ivg.metrics.disentanglement.unsupervised import gaussian_total_correlation, mutual_info_score
from ivg.metrics.disentanglement.votes import beta_vae, factor_vae, factor_vae_ibgan

__all__ = [
    "ALL",
    "FAST",
    "LARGEST_TABLE",
    "Representation",
    "Rows",
    "Score",
    "beta_vae",
    "dci",
    "evaluate",
    "explicitness",
    "factor_vae",
    "factor_vae_ibgan",
    "from_arrays",
    "from_encoder",
    "gaussian_total_correlation",
    "irs",
    "mig",
    "modularity",
    "mutual_info_score",
    "remembered",
    "sap_continuous",
    "sap_discrete",
]
