"""What the pages say: methods with their papers, and each score in a short phrase."""

from ivg.catalogue import METHODS

# Each score in a phrase, by the last part of its name.
PHRASES = {
    "accuracy_one_to_one": "share of images in their class, each cluster given to one class",
    "accuracy_many_to_one": "the same, several clusters may share a class; 1/K by chance",
    "nmi": "information shared by clusters and classes, 0 by chance to 1",
    "ari": "pairs of images put together rightly, 0 by chance to 1",
    "factor_vae": "can the code that varies least tell which factor was held fixed? to 1",
    "factor_vae_ibgan": "the same with IB-GAN's released settings",
    "beta_vae": "can a linear classifier tell which factor two sets share? to 1",
    "mig": "gap between the two codes that know most of a factor, 0 to 1",
    "sap_continuous": "the same gap by squared correlation, 0 to 1",
    "sap_discrete": "the same gap by a linear classifier's accuracy, 0 to 1",
    "modularity": "does each code know one factor only? to 1",
    "explicitness": "can factors be read from the codes by a linear classifier? to 1",
    "irs": "do codes stay while other factors change? to 1",
    "dci": "disentanglement, completeness and informativeness of a regression, to 1",
    "reconstruction_mse": "squared error per pixel and channel, images in [−1, 1]",
    "bound": "lower bound on log p(x), nats per image",
    "log_likelihood": "log p(x | codes), nats per image",
    "kl_c": "divergence of the posterior of c from its prior, nats",
    "kl_d": "divergence of the posterior of d from its prior, nats",
    "kl_z": "divergence of the posterior of z from its prior, nats",
    "info_lower": "the codes' information in images is at least this, nats",
    "info_upper": "and at most this, nats",
    "c;y": "information on the attributes in their own code; should reach H(y)",
    "z;y": "information on the attributes in the rest; should be 0",
    "z;c": "information shared by the two codes; should be 0",
    "distance": "Fréchet distance of the features of generated and training images",
    "kid_mean": "kernel distance of the same features; 0 for equal distributions",
    "kid_std": "its standard deviation over subsets",
    "precision": "share of generated images that lie among real ones",
    "recall": "share of real images that lie among generated ones",
}

# What stands at the top, the first four that a run has: path in results.json, name.
HEADLINES = (
    (("clustering", "accuracy_one_to_one"), "clustering accuracy"),
    (("clustering", "nmi"), "clustering NMI"),
    (("fid", "distance"), "FID"),
    (("disentanglement", "factor_vae", "mean"), "FactorVAE score"),
    (("disentanglement", "mig", "mean"), "MIG"),
    (("attributes", "information", "c;y", "mean"), "I(c; y), bits"),
    (("attributes", "information", "z;y", "mean"), "I(z; y), bits"),
    (("bounds", "info_lower"), "information, lower bound, nats"),
    (("bounds", "info_upper"), "information, upper bound, nats"),
    (("reconstruction_mse",), "reconstruction MSE"),
    (("kmeans_codes", "nmi"), "NMI of k-means on codes"),
    (("frechet_classifier", "distance"), "Fréchet distance"),
)


def method(name: str) -> tuple[str, str, str]:
    """What a method is called, what it is, its paper; the bare name of an unknown one."""
    if name not in METHODS:
        return name, "", ""
    about = METHODS[name]
    return about.title, f"{about.line[0].upper()}{about.line[1:]}.", about.reference


def phrase(name: str) -> str:
    """A score in a short phrase, "" for one that says it itself."""
    last = name.replace("/", ".").split(".")[-1].removeprefix("I(").removesuffix(")")
    return PHRASES.get(name, PHRASES.get(last, ""))
