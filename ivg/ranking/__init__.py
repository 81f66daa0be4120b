"""Which of several trained runs to trust where no truth is known.

  python -m ivg.ranking runs/sprites_vae_0 runs/sprites_vae_1 runs/sprites_beta_vae_0 --out=ranking

UDR compares what the runs' encoders say of the same images, ModelCentrality what each encoder says
of the images that every other run generates; `ivg.metrics.selection` has both. Any run takes part
whose method infers continuous codes from images alone, autoencoders and GANs together.

UDR's paper compares a run with those that differ in the seed alone (--group=settings), in a variant
with all runs of its method (--group=method). Where there are few of either, --group=all compares
all runs, of whatever method; that is our extension, and across methods UDR favours runs with few
informative dimensions (the table's "dims"). ModelCentrality always takes all runs; a code that its
generator ignores costs votes, so it favours many live ones.
"""

from ivg.ranking.compare import GROUPS, rank

__all__ = ["GROUPS", "rank"]
