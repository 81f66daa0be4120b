"""In a checkout: the folder `configs` beside `ivg`, as the package that a wheel has it as.

setup.cfg installs that folder as `ivg.configs`, without this file. It is here so that ivg can be
run from its sources too: installed editable, from the checkout's folder, or through PYTHONPATH.
"""

import pathlib

__path__ = [str(pathlib.Path(__file__).resolve().parents[2] / "configs")]
