"""Tells which installed packages have known faults, as far as that can be found out.

  python .ci/audit.py

A report, never a verdict: it ends with 0 whatever it found, and within `PATIENCE` seconds where no
network answers. pip-audit (installed if it is not there) asks PyPI, or what stands for PyPI here,
for the advisories of every package. A mirror may know none: then the package was not audited, which
is another thing than being clean, and is said so.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

PATIENCE = 180  # seconds, for the installation and for the report each
INSTALL = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
           "--retries=1", "--timeout=15", "pip-audit>=2.9,<3")  # fmt: skip
AUDIT = (sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--desc=off",
         "--skip-editable", "--timeout=15")  # fmt: skip


def main() -> int:
    """Prints the report; returns 0."""
    print("\n".join(f"audit: {line}" for line in lines()), flush=True)
    return 0


def lines() -> list[str]:
    """The report, or why there is none."""
    if importlib.util.find_spec("pip_audit") is None:
        failed, _ = output(INSTALL)
        if failed:
            return [f"no report: pip-audit cannot be installed ({failed})"]
    failed, text = output(AUDIT)
    try:
        return summary(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"no report: {failed or 'pip-audit says nothing that can be read'}"]


def output(command: Sequence[str]) -> tuple[str, str]:
    """What went wrong with a command, "" if nothing; and its standard output."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} s", ""
    except OSError as error:
        return str(error), ""
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return (said[-1][:200] if done.returncode else ""), done.stdout


def summary(report: Mapping[str, Any]) -> list[str]:
    """What pip-audit's JSON says: how many are clean, vulnerable, not audited, and which.

    Raises:
        KeyError, TypeError, AttributeError: it is not pip-audit's.
    """
    found = report["dependencies"]
    skipped = [one["name"] for one in found if "skip_reason" in one]
    bad = [one for one in found if one.get("vulns")]
    clean = len(found) - len(skipped) - len(bad)
    told = [f"{len(found)} packages: {clean} clean, {len(bad)} vulnerable, "
            f"{len(skipped)} not audited"]  # fmt: skip
    for one in bad:
        for fault in one["vulns"]:
            mended = ", ".join(fault.get("fix_versions") or ()) or "no version yet"
            told.append(f"vulnerable: {one['name']} {one['version']}: {fault['id']}, "
                        f"mended in {mended}")  # fmt: skip
    if skipped and not clean and not bad:
        told.append("not audited: none of them could be asked for; this says nothing about them")
    elif skipped:
        told.append(f"not audited: {', '.join(sorted(skipped))}")
    return told


if __name__ == "__main__":
    sys.exit(main())
