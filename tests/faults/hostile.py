"""Payloads that leave a mark where they are run, for the tests of `test_hostile_*.py`."""

import os
import pathlib
import pickle


class Mark:
    """Unpickled, it makes a directory."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def is_live(path: pathlib.Path) -> bool:
    """Whether the payload works where pickles are loaded: the mark is then taken away again."""
    assert not path.exists()
    pickle.loads(pickle.dumps(Mark(path)))
    made = path.is_dir()
    path.rmdir()
    return made


def module(folder: pathlib.Path, name: str, mark: pathlib.Path) -> None:
    """A module on disk that leaves the mark when it is imported."""
    (folder / f"{name}.py").write_text(
        f"import os\nos.path.isdir({str(mark)!r}) or os.mkdir({str(mark)!r})\n"
        "class Handler:\n    pass\n"
    )


# Texts for names, titles, captions: each leaves a mark in a page that takes it for more than text.
# A script would set `window.marked`, an element would have the attribute `data-marked`.
_RUN = "window.marked=1"
TEXTS = (
    f"<img src=x data-marked onerror={_RUN}>",
    f"</script><script>{_RUN}</script>",
    f"\"'><svg data-marked onload={_RUN}>",
    f"</style><script>{_RUN}</script><style>",
    f"javascript:{_RUN}//",
    f"' autofocus onfocus={_RUN} data-marked='",
    "</title></textarea><iframe data-marked srcdoc='<script>parent.marked=1</script>'></iframe>",
    f"<a href='javascript:{_RUN}' data-marked>x</a><base href='http://127.0.0.1:9/' data-marked>",
    "x}body{display:none}/*<!--",
    "url(http://127.0.0.1:9/marked.png);background:url('http://127.0.0.1:9/b')",
    "\u2028alert(1)\u2029\x00\x1b[31m\ufeff\u202e",
    "```\n<b data-marked>\n# x | y\n---\n`<i data-marked>`",
    "<!--<script>", "]]>", "${window.marked=1}", "{{7*7}}", "&lt;script&gt;",
    "&#60;b data-marked&#62;",
    "<link rel=stylesheet data-marked href='http://127.0.0.1:9/x.css'><meta http-equiv=refresh "
    "data-marked content='0;url=http://127.0.0.1:9/'>",
    f"<math><mtext><img src=x data-marked onerror={_RUN}></mtext></math><form data-marked>",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace") + "<b data-marked>",
)  # fmt: skip


def unharmed(page: object) -> bool:
    """Whether nothing of TEXTS became more than text in a page of Playwright's."""
    return page.evaluate(
        "window.marked === undefined && !document.querySelector('[data-marked]') "
        "&& getComputedStyle(document.body).display !== 'none'"
    )
