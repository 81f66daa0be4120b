"""What each method is, and its paper, in words: for `--list`, model cards and reports.

Not in the methods' own files, which need JAX.
"""

from typing import NamedTuple


class About(NamedTuple):
    """A method in words.

    title: what it is called.
    line: what it is, in one line.
    authors, paper, venue: of its paper.
    """

    title: str
    line: str
    authors: str
    paper: str
    venue: str

    @property
    def reference(self) -> str:
        """The paper in one line."""
        return f"{self.authors}, {self.paper}, {self.venue}"


_INFOVAEGAN = (
    "Ye & Bors",
    "InfoVAEGAN: Learning Joint Interpretable Representations by Information Maximization and "
    "Maximum Likelihood",
    "ICIP 2021",
)

METHODS = {
    "ali": About(
        "ALI",
        "a GAN whose game an encoder joins",
        "Dumoulin et al.",
        "Adversarially Learned Inference",
        "ICLR 2017",
    ),
    "beta_tcvae": About(
        "β-TCVAE",
        "a VAE whose total correlation is weighted",
        "Chen et al.",
        "Isolating Sources of Disentanglement in Variational Autoencoders",
        "NeurIPS 2018",
    ),
    "beta_vae": About(
        "β-VAE",
        "a VAE whose divergence is weighted, or held at a capacity",
        "Higgins et al.",
        "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
        "ICLR 2017",
    ),
    "csvae": About(
        "CSVAE",
        "a VAE with attributes, which an adversary takes out of z",
        "Klys, Snell & Zemel",
        "Learning Latent Subspaces in Variational Autoencoders",
        "NeurIPS 2018",
    ),
    "dip_vae": About(
        "DIP-VAE",
        "a VAE whose codes are to be uncorrelated",
        "Kumar et al.",
        "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations",
        "ICLR 2018",
    ),
    "factorvae": About(
        "FactorVAE",
        "a VAE with a discriminator of dependent codes",
        "Kim & Mnih",
        "Disentangling by Factorising",
        "ICML 2018",
    ),
    "gan": About(
        "GAN",
        "a generator and a discriminator; z is regressed afterwards",
        "Goodfellow et al.",
        "Generative Adversarial Nets",
        "NeurIPS 2014",
    ),
    "ibgan": About(
        "IB-GAN",
        "InfoGAN with an information bottleneck before the generator",
        "Jeon, Lee, Pyeon & Kim",
        "IB-GAN: Disentangled Representation Learning with Information Bottleneck Generative "
        "Adversarial Networks",
        "AAAI 2021",
    ),
    "infogan": About(
        "InfoGAN",
        "a GAN whose codes can be read from its images",
        "Chen et al.",
        "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative "
        "Adversarial Nets",
        "NeurIPS 2016",
    ),
    "infogan_cr": About(
        "InfoGAN-CR",
        "InfoGAN with a contrastive regulariser",
        "Lin et al.",
        "InfoGAN-CR and ModelCentrality: Self-supervised Model Training and Selection for "
        "Disentangling GANs",
        "ICML 2020",
    ),
    "infovaegan": About(
        "InfoVAEGAN",
        "a Wasserstein GAN with classes, styles and inference",
        *_INFOVAEGAN,
    ),
    "infovaegan_invariant": About(
        "Invariant InfoVAEGAN",
        "our extension: classes are found by agreement on affine copies",
        *_INFOVAEGAN,
    ),
    "infovaegan_joint": About(
        "Joint InfoVAEGAN",
        "InfoVAEGAN as released: D sees images beside their codes",
        *_INFOVAEGAN,
    ),
    "jointvae": About(
        "JointVAE",
        "a VAE with continuous codes and a relaxed class",
        "Dupont",
        "Learning Disentangled Joint Continuous and Discrete Representations",
        "NeurIPS 2018",
    ),
    "mixture_vae": About(
        "Mixture of VAEs",
        "a mixture of VAEs with independent components",
        "Ye & Bors",
        "Deep Mixture Generative Autoencoders",
        "IEEE TNNLS 2021",
    ),
    "mmvae": About(
        "MMVAE",
        "a VAE with attributes, whose information is kept out of z",
        "Kim",
        "Mutual Information Minimizing VAE",
        "thesis, 2019",
    ),
    "r_cvae": About(
        "r-CVAE",
        "a conditional VAE whose attributes have a code of their own",
        "Kim",
        "Mutual Information Minimizing VAE",
        "thesis, 2019",
    ),
    "vae": About(
        "VAE",
        "the variational autoencoder",
        "Kingma & Welling",
        "Auto-Encoding Variational Bayes",
        "ICLR 2014",
    ),
    "wgan_gp": About(
        "WGAN-GP",
        "a Wasserstein GAN with gradient penalty; it infers nothing",
        "Gulrajani et al.",
        "Improved Training of Wasserstein GANs",
        "NeurIPS 2017",
    ),
}
