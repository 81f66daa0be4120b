"""The server of the page: where it listens, whom it answers, what it leaves behind."""

import contextlib
import ipaddress
import os
import shutil
import socket
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator

from ivg.errors import UserError
from ivg.explore import page, pictures, style
from ivg.explore.explorer import Explorer

FIRST_PORT, PORTS = 7860, 40  # tried in turn where none is asked for
MOST_SENT = pictures.MOST_BYTES + 100_000  # bytes of a request: one upload and what stands around
FONTS = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
MONO = ("ui-monospace", "Consolas", "monospace")
# Whatever the page's parts were made to ask for: the browser asks nobody but this server.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; form-action 'self'"
)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; without a port, on the first free one from FIRST_PORT on.

    Raises:
        UserError: the port is taken, or this machine has no such address.
    """
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    for number in ports:
        try:
            found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise UserError(
                f'--host="{host}" is no address; leave it away, or use 0.0.0.0 for all.'
            ) from None
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.listen(128)
        except OSError as error:
            made.close()
            if error.errno == 99 or isinstance(error, socket.gaierror):
                raise UserError(
                    f'this machine has no address "{host}"; leave --host away, or use 0.0.0.0 for '
                    "all of its addresses."
                ) from None
            if isinstance(error, PermissionError):
                raise UserError(f"port {number} is not for users; use --port=7860.") from None
        else:
            return made
    if port is None:
        raise UserError(f"ports {ports[0]} to {ports[-1]} are all in use; name a free --port.")
    raise UserError(f"port {port} is in use; name another --port, or none for the next free one.")


def is_local(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address(made: socket.socket, host: str) -> str:
    """What to type into a browser on this machine."""
    name = f"[{host}]" if ":" in host else host
    name = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)
    return f"http://{name}:{made.getsockname()[1]}"


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A folder for uploads, removed at the end; Gradio is told of it."""
    folder = tempfile.mkdtemp(prefix="ivg_explore_")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refusal(scope: dict, *, local: bool) -> tuple[int, bytes] | None:
    """Status and words for a request that is not answered, None for one that is.

    Args:
        scope: of the request, as ASGI has it.
        local: as of `guarded`.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    if local and not is_local(host.rsplit(":", 1)[0].strip("[]")):
        return 421, b"not this host"
    # A page of another site may send here without asking, though it cannot read the answer.
    origin = headers.get(b"origin")
    if origin is not None and urllib.parse.urlsplit(origin).netloc.lower() != host.lower():
        return 403, b"not from this page"
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return None
    if b"transfer-encoding" in headers or not headers.get(b"content-length", "0").isdecimal():
        return 411, b"say how long it is"
    if int(headers.get(b"content-length", "0")) > MOST_SENT:
        return 413, b"too long"
    return None


def guarded(app: Callable, *, local: bool) -> Callable:
    """The ASGI application with a policy for the browser in every answer.

    Args:
        app: the application.
        local: whether it listens on this machine alone. Requests for another host's name are then
            refused: a page elsewhere could have its name point here and read the answers.
    """

    async def answer(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        if refused := refusal(scope, local=local):
            await send({"type": "http.response.start", "status": refused[0], "headers": []})
            await send({"type": "http.response.body", "body": refused[1]})
            return

        async def with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                more = [
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = message | {"headers": [*message.get("headers", ()), *more]}
            await send(message)

        await app(scope, receive, with_policy)

    return answer


def application(explorer: Explorer, *, local: bool = True) -> Callable:
    """The page as an ASGI application, without links, records or paths of Gradio's own."""
    gr = page.gradio()
    import fastapi

    theme = gr.themes.Default(primary_hue="blue", font=FONTS, font_mono=MONO)
    mounted = gr.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page.blocks(explorer),
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size=pictures.MOST_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css=style.CSS,
    )
    return guarded(mounted, local=local)


def serve(app: Callable, made: socket.socket) -> None:
    """Answers until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[made])
