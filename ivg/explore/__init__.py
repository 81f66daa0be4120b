"""A page to play with a trained model: `python -m ivg.explore --workdir=runs/digits`."""
