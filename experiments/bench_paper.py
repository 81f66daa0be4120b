"""What the papers report of the bench's methods; numbers on dSprites stand beside our sprites."""

from typing import NamedTuple

FACTOR_VAE = "disentanglement.factor_vae"
CLUSTERS = "clustering.accuracy_one_to_one"  # here a fraction, in the papers per cent


class Published(NamedTuple):
    """A number of a paper: of seeds' scores, the mean, and what it gives beside it."""

    source: str
    value: float
    std: float | None = None
    best: float | None = None
    seeds: int | None = None

    def words(self) -> str:
        """As in "0.80 +- 0.07 (IB-GAN)"."""
        text = f"{self.value:.2f}"
        text += "" if self.std is None else f" +- {self.std:.2f}"
        text += "" if self.best is None else f", best {self.best:.2f}"
        return f"{text} ({self.source})"


def table_1(mean: float, std: float) -> Published:
    """Of IB-GAN's Table 1 (Jeon et al., AAAI 2021)."""
    return Published("IB-GAN", mean, std, seeds=10)


def infovaegan(value: float) -> Published:
    """Of InfoVAEGAN's dSprites table (Ye & Bors, ICIP 2021), which quotes the others' scores."""
    return Published("InfoVAEGAN", value, seeds=10)


DSPRITES = {
    "gan": (table_1(0.40, 0.05),),
    "infogan": (table_1(0.61, 0.03),),
    "ibgan": (table_1(0.80, 0.07),),
    "vae": (table_1(0.61, 0.04),),
    "beta_vae": (table_1(0.69, 0.09), infovaegan(0.73)),
    "factorvae": (table_1(0.81, 0.07), infovaegan(0.82)),
    "beta_tcvae": (table_1(0.79, 0.06),),
    "infovaegan": (infovaegan(0.79),),
    "jointvae": (infovaegan(0.69),),
    "infogan_cr": (  # Lin et al., ICML 2020
        Published("InfoGAN-CR", 0.88, 0.01),
        Published("InfoGAN-CR, chosen by ModelCentrality", 0.92),
    ),
}
COLOR_DSPRITES = {
    "gan": (table_1(0.35, 0.04),),
    "infogan": (table_1(0.55, 0.08),),
    "ibgan": (table_1(0.79, 0.05),),
    "vae": (table_1(0.59, 0.06),),
    "beta_vae": (table_1(0.74, 0.06),),
    "factorvae": (table_1(0.82, 0.06),),
    "beta_tcvae": (table_1(0.80, 0.07),),
}
MNIST = {  # InfoVAEGAN's Table 1, per cent; InfoGAN's is one number
    "infovaegan": (Published("InfoVAEGAN", 95.42, best=96.15, seeds=4),),
    "jointvae": (Published("InfoVAEGAN", 71.53, best=87.32, seeds=4),),
    "infogan": (Published("InfoVAEGAN", 93.35),),
}
# data -> (the score that the papers report, method -> numbers)
PUBLISHED = {
    "sprites": (FACTOR_VAE, DSPRITES),
    "dsprites": (FACTOR_VAE, DSPRITES),
    "color_sprites": (FACTOR_VAE, COLOR_DSPRITES),
    "mnist": (CLUSTERS, MNIST),
}


def of(data: str, method: str) -> tuple[Published, ...]:
    """The numbers of a method; () where there are none."""
    return PUBLISHED.get(data, ("", {}))[1].get(method, ())


def score_of(data: str) -> str | None:
    """The score that the papers report on a data set."""
    return PUBLISHED.get(data, (None, {}))[0]
