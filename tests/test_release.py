"""What is written about a version says the same everywhere."""

import pathlib
import re

import ivg

ROOT = pathlib.Path(__file__).resolve().parent.parent
CITATION = (ROOT / "CITATION.cff").read_text()


def field(name):
    """A top-level field of one line."""
    (value,) = re.findall(rf"^{name}: *(.+)$", CITATION, re.M)
    return value.strip("\"'")


def test_the_citation_is_of_this_version():
    assert field("cff-version") == "1.2.0" and field("type") == "software"
    assert field("version") == ivg.__version__
    assert f"license = {field('license')}\n" in (ROOT / "setup.cfg").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert re.findall(r"^authors:\n((?:  .*\n)+)", CITATION, re.M) == [
        "  - name: The ivg authors\n"
    ]


def test_the_citation_names_the_papers_as_the_methods_do():
    titles = re.findall(r"^    title: (.+)$", CITATION, re.M)
    assert len(titles) == 3
    for title, method in zip(titles, ("infovaegan", "ibgan", "mmvae"), strict=True):
        words = " ".join((ROOT / "ivg" / "methods" / f"{method}.py").read_text().split())
        assert title.strip('"') in words, title


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions and versions[0][0] == ivg.__version__
    assert all(day == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", day) for _, day in versions)
    assert all(day != "unreleased" for _, day in versions[1:])
