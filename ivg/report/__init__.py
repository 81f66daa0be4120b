"""A page for a run, `report.html`, and one that compares several; both need nothing but a browser.

`page.write` makes that of a run from its directory and its state in memory, `compare.write` that of
several from their directories alone. The command is `python -m ivg.report runs/a [runs/b ...]`.
"""
