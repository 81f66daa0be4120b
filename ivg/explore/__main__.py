"""Play with a trained model in a browser.

  python -m ivg.explore --workdir=runs/digits
  python -m ivg.explore --workdir=runs/digits --port=8000 --open

Needs Gradio: pip install 'ivg[explore]'. Only this machine reaches the page; Ctrl-C ends it.
"""

import argparse
import os
import pathlib
import signal
import sys
import threading
import webbrowser
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

from ivg import command_line, compilation
from ivg.errors import UserError
from ivg.explore import explorer, page, server


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until Ctrl-C; returns the exit code."""
    try:
        flags = _flags(arguments)
        with server.scratch():
            _run(flags)
    except UserError as error:
        return command_line.refuse(error)
    except KeyboardInterrupt:
        print()
    return 0


def _run(flags: argparse.Namespace) -> None:
    made = server.listen(flags.host, flags.port)
    with made:
        page.gradio()  # before the model: whether it is there is known at once
        compilation.keep_programs()
        found = explorer.open_run(pathlib.Path(flags.workdir))
        print(f"{found.model!r}")
        if found.note:
            print(f"note: {found.note}", file=sys.stderr)
        local = server.is_local(flags.host)
        if found.note and not local:  # it may name folders of this machine
            found = found._replace(note="Some of the page is missing; its server says why.")
        app = server.application(found, local=local)
        found.warm_up()
        url = server.address(made, flags.host)
        if not local:
            print(
                f"warning: --host={flags.host}: whoever reaches this machine can use the page; "
                "there is no password.",
                file=sys.stderr,
            )
        print(f"{url}   (Ctrl-C ends)", flush=True)
        if flags.open:
            threading.Timer(0.5, webbrowser.open, [url]).start()
        server.serve(app, made)


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.explore",
        description="Play with a trained model in a browser: move its codes, encode images.",
    )
    add = parser.add_argument
    add("--workdir", required=True, help="the run directory of the model")
    add("--host", default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets others in (default %(default)s)")  # fmt: skip
    add("--port", type=int, help="port to listen on (default: 7860, or the next free one)")
    add("--open", action="store_true", help="open the page in the browser")
    flags = command_line.parse(parser, arguments)
    if flags.port is not None and not 0 <= flags.port < 65536:
        raise UserError(f"--port={flags.port} is no port; use one from 1024 to 65535.")
    return flags


if __name__ == "__main__":
    # As Ctrl-C: what was uploaded is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
