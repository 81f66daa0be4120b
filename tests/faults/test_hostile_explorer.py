"""The explorer under requests that its page never sends: files, addresses, sizes, other origins."""

import http.client
import io
import json
import pathlib
import re
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

import command
import explorable
import hostile
import jax
import numpy as np
import pytest
from exported import numbers
from PIL import Image
from tiny_models import SMALL

from ivg import build, checkpoint, rundir
from ivg.configs import digits
from ivg.explore import pictures, server
from tests.browser import browser, opened

explorable.require_gradio()
SECRET = "a secret of this machine"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Site(NamedTuple):
    """A running explorer, and what lies around it."""

    host: str
    folder: pathlib.Path
    uploads: pathlib.Path
    config: dict[str, Any]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Sends one request, as it is; of an answer without end the beginning."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.putrequest(method, path, skip_host="host" in named)
            if body is not None and "content-length" not in named:
                named["content-length"] = str(len(body))
            for name, value in named.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            endless = "event-stream" in (answer.getheader("content-type") or "")
            found = dict((n.lower(), v) for n, v in answer.getheaders())
            return Answer(answer.status, found, b"" if endless else answer.read())
        finally:
            connection.close()

    def send(self, path: str, content: object, **headers: str) -> Answer:
        return self.ask("POST", path, json.dumps(content).encode(),
                        content_type="application/json", **headers)  # fmt: skip

    def event(self, target: str, data: list, session: str) -> bytes:
        """Has an event of the page handled with these values; all that is answered."""
        (number,) = (d["id"] for d in self.config["dependencies"]
                     if any(kind == target for _, kind in d["targets"]))  # fmt: skip
        wanted = {"data": data, "fn_index": number, "session_hash": session}
        assert self.send("/gradio_api/queue/join", wanted).status == 200
        connection = http.client.HTTPConnection(self.host, timeout=20)
        connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
        answer, found, start = connection.getresponse(), b"", time.monotonic()
        while b"process_completed" not in found and time.monotonic() - start < 60:
            found += answer.readline()
        connection.close()
        return found

    def upload(self, name: str, data: bytes, **headers: str) -> Answer:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="'
            + name.encode() + b'"\r\nContent-Type: image/png\r\n\r\n' + data + b"\r\n--x--\r\n"
        )  # fmt: skip
        headers = {"content_type": "multipart/form-data; boundary=x"} | headers
        return self.ask("POST", "/gradio_api/upload", body, **headers)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    """A stranger's run whose names are attacks."""
    folder = tmp_path_factory.mktemp("hostile_explorer")
    workdir = folder / "secret_run"
    config = json.loads(json.dumps(digits.get_config("csvae").to_dict()))
    config["csvae"] |= {n: value for n, value in SMALL.items() if n in config["csvae"]}
    config["data"]["name"] = hostile.TEXTS[0]
    names = tuple(hostile.TEXTS[1:3])
    known = rundir.Facts((16, 16, 3), names, (hostile.TEXTS[3],), 20)
    rundir.claim(workdir, config)
    rundir.write_facts(workdir, known)
    state = numbers(jax.eval_shape(build.stored_method(config, known).init, jax.random.key(0)))
    checkpoint.save(build.checkpoints(workdir), 1, state, keep=1)
    (folder / "secret.txt").write_text(SECRET)
    Image.new("RGB", (8, 8), "red").save(folder / "secret.png")
    arguments = ("-m", "ivg.explore", f"--workdir={workdir}", "--port=0")
    with explorable.served(*arguments, uploads=folder / "uploads") as ((address, *_), _):
        host = address.removeprefix("http://")
        made = Site(host, folder, folder / "uploads", {})
        yield made._replace(config=json.loads(made.ask("GET", "/config").body))


def outside(folder: pathlib.Path) -> dict[str, bytes]:
    """All files but those that are uploads."""
    return {n: c for n, c in command.contents(folder).items() if not n.startswith("uploads")}


def routes(site: Site) -> list[tuple[str, str]]:
    """Every address that might give a file or take an order, with ways out of its folder."""
    secret = site.folder / "secret.txt"
    up = "..%2f" * 12
    files = [str(secret), f"{'../' * 12}{secret}", f"{up}{secret}", f"file://{secret}",
             str(command.REPOSITORY / "setup.cfg"), "/proc/self/environ", "/etc/passwd",
             "http://127.0.0.1:9/x"]  # fmt: skip
    places = ("/file=", "/file/", "/gradio_api/file=", "/gradio_api/file/", "/gradio_api/proxy=",
              "/static/", "/assets/", "/svelte/", "/gradio_api/custom_component/x/server/y/",
              "/gradio_api/stream/x/1/")  # fmt: skip
    given = [("GET", place + file.replace(" ", "%20")) for place in places for file in files]
    asked = ("/gradio_api/vibe-code", "/gradio_api/runs", "/gradio_api/run-history/records",
             "/monitoring", "/monitoring/summary", "/gradio_api/info", "/gradio_api/openapi.json",
             "/openapi.json", "/docs", "/redoc", "/config", "/gradio_api/app_id", "/theme.css",
             "/manifest.json", "/pwa_icon", "/gradio_api/upload_progress?upload_id=..%2f..",
             "/gradio_api/deep_link?session_hash=..%2f..", "/gradio_api/queue/status",
             "/gradio_api/dev/reload", "/gradio_api/user", "/login_check")  # fmt: skip
    told = ("/gradio_api/vibe-edit", "/gradio_api/undo-vibe-edit", "/gradio_api/vibe-code",
            "/gradio_api/run/of_upload", "/gradio_api/api/of_upload", "/gradio_api/call/of_upload",
            "/gradio_api/call/v2/of_upload", "/gradio_api/component_server", "/gradio_api/reset",
            "/gradio_api/process_recording", "/gradio_api/stream/x", "/gradio_api/cancel",
            "/gradio_api/run-history/connect", "/login")  # fmt: skip
    return given + [("GET", path) for path in asked] + [("POST", path) for path in told]


def test_no_route_gives_a_file_or_takes_an_order(site, figure):
    before, tried = outside(site.folder), 0
    order = {"data": [str(site.folder / "secret.png")], "prompt": "x", "hash": "../../secret",
             "code": "x", "session_hash": "s", "fn_index": 0, "event_id": "x", "component_id": 1,
             "fn_name": "__init__"}  # fmt: skip
    for method, path in routes(site):
        answer = site.ask("GET", path) if method == "GET" else site.send(path, order)
        for private in (SECRET, "root:", str(site.folder), "site-packages", "[metadata]"):
            said = answer.body.decode("latin-1")
            if answer.status in (403, 404):  # it may repeat what was asked for
                said = said.replace(str(site.folder / "secret.txt"), "")
            assert private not in said, (method, path, said[:300])
        if any(place in path for place in ("file", "vibe", "run-history", "proxy", "..%2f")):
            assert answer.status >= 300 or not answer.body.strip(b'"'), (path, answer)
        assert "content-security-policy" in answer.headers
        tried += 1
    assert outside(site.folder) == before and tried > 100
    figure("security", "routes of the explorer tried", tried)


def test_an_event_reads_uploads_only(site, figure):
    """A request can name any file in the place of an upload, for any component."""
    data = (site.folder / "secret.png").read_bytes()
    (path,) = json.loads(site.upload("a.png", data).body)
    mine = {"path": path, "meta": {"_type": "gradio.FileData"}}
    found = site.event("upload", [mine, []], "control")
    assert b"encoded from" in found and b'"success":true' in found  # the control: it works
    secret, tried = str(site.folder / "secret.png"), 0
    link = site.uploads / "link.png"
    link.symlink_to(secret)
    inside = pathlib.Path(path).parent / "link.png"
    inside.symlink_to(secret)
    wanted = (secret, str(site.folder / "secret.txt"), f"{path}/../../../../secret.png", str(link),
              str(inside), "/etc/passwd", "/proc/self/environ", "/dev/zero", f"file://{secret}",
              "http://127.0.0.1:9/x.png", "", "\x00", "x" * 5000)  # fmt: skip
    for name in wanted:
        for value in ({"path": name}, {"path": "", "url": name}):
            asked = value | {"meta": {"_type": "gradio.FileData"}}
            said = site.event("upload", [asked, []], f"upload{tried}")
            assert b'"success":false' in said and b"encoded from" not in said, (value, said)
            assert str(site.folder).encode() not in said, said
            tried += 1
    copies = [p for p in site.uploads.rglob("*") if p.is_file() and not p.is_symlink()]
    assert SECRET.encode() not in b"".join(p.read_bytes() for p in copies if p.name != "a.png")
    assert [p.name for p in copies].count("secret.png") == 0
    figure("security", "files of the machine asked of the explorer's events", tried)


def test_other_hosts_and_origins_are_refused(site, figure):
    own, tried = f"http://{site.host}", 0
    port = site.host.split(":")[1]
    assert site.ask("GET", "/config", origin=own).status == 200
    assert site.ask("GET", "/", host=f"localhost:{port}").status == 200
    hosts = (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "",
        "0.0.0.0",
        f"localhost.evil.example:{port}",
        "localhost@evil.example",
        "[::2]",
        "192.0.2.1",
    )
    for host in hosts:  # fmt: skip
        for path in ("/", "/config", "/gradio_api/upload"):
            assert site.ask("GET", path, host=host).status == 421, host
            tried += 1
    origins = (
        "http://evil.example",
        "null",
        "",
        "file://",
        "https://localhost",
        "http://127.0.0.1",
        f"http://localhost:{port}",
        f"http://{site.host}.evil.example",
        f"http://evil.example/{site.host}",
        f"http://{site.host}@evil.example",
        "x" * 3000,
    )
    before = {p for p in site.uploads.rglob("*") if p.is_file()}
    for origin in origins:  # fmt: skip
        assert site.upload("x.png", b"x", origin=origin).status == 403, origin
        assert site.send("/gradio_api/queue/join", {"data": []}, origin=origin).status == 403
        assert site.ask("GET", "/config", origin=origin).status == 403
        tried += 3
    assert {p for p in site.uploads.rglob("*") if p.is_file()} == before
    figure("security", "requests of other hosts and origins", tried)


def large(count: int) -> bytes:
    return b"\x89PNG" + bytes(count)


def test_uploads_are_limited_in_size_and_kind(site, figure):
    tried = 0
    assert site.upload("a.png", large(1000), origin=f"http://{site.host}").status == 200
    assert site.upload("a.png", large(pictures.MOST_BYTES + 10)).status == 413
    # What is too long is refused before it is read.
    for length in (server.MOST_SENT + 1, 10**12):
        answer = site.ask("POST", "/gradio_api/upload", b"", content_length=str(length))
        assert answer.status == 413
        tried += 1
    for headers in ({"transfer_encoding": "chunked"}, {"content_length": "1e9"}):
        body = b"0\r\n\r\n" if "transfer_encoding" in headers else b""
        headers |= {"content_length": headers.get("content_length", "5")}
        answer = site.ask("POST", "/gradio_api/upload", body, **headers)
        assert answer.status in (400, 411), answer
        tried += 1
    picture = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(picture, "PNG")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    eps = io.BytesIO()
    Image.new("RGB", (8, 8)).save(eps, "EPS")
    rng = np.random.default_rng(0)
    files = (("bomb.png", picture.getvalue()), ("a.svg", svg), ("svg.png", svg),
             ("eps.png", eps.getvalue()), ("a.eps", eps.getvalue()), ("none.png", b""),
             ("zip.png", b"PK\x03\x04" + bytes(100)), ("page.html", b"<script>1</script>"),
             ("noise.png", b"\x89PNG\r\n\x1a\n" + rng.bytes(500)),
             ("../../../../out.png", b"no image"), ("/out.png", b"no image"),
             ("..\\..\\out.png", b"no image"), ("a\x00.png", b"no image"),
             ("x" * 400 + ".png", b"no image"), ("<img src=x>.png", b"no image"))  # fmt: skip
    for name, data in files:
        answer = site.upload(name, data)
        tried += 1
        if answer.status != 200:
            continue
        (path,) = json.loads(answer.body)
        assert pathlib.Path(path).resolve().is_relative_to(site.uploads.resolve()), path
        asked = {"path": path, "meta": {"_type": "gradio.FileData"}}
        said = site.event("upload", [asked, []], f"kind{tried}")
        assert b'"success":false' in said and str(site.folder).encode() not in said, (name, said)
        # Nor is it given back as a page of this server's.
        given = site.ask("GET", f"/gradio_api/file={urllib.parse.quote(path)}")
        inline = given.headers.get("content-disposition", "").startswith("inline")
        kind = given.headers.get("content-type", "")
        assert given.status >= 400 or not inline or not re.search("html|svg|xml", kind), given
    left = [p for p in site.folder.rglob("out.png") if not p.is_relative_to(site.uploads)]
    assert not left and not pathlib.Path("/out.png").exists()
    figure("security", "hostile files offered, uploads to the explorer", tried)


def test_hostile_names_stay_words_in_the_page(site, figure):
    """Attributes, classes and the data set are called as in the run's files; in a real browser."""
    address = f"http://{site.host}/"
    with browser() as running, opened(running, address) as found:
        page = found.page
        page.wait_for_selector("#picture img")
        shown = (
            "[...document.querySelectorAll('button')].some(b => b.innerText.startsWith('with '))"
        )
        page.wait_for_function(f"() => {shown}", timeout=20_000)
        for text in hostile.TEXTS[1:3]:
            words = " ".join(text.split())
            labels = [" ".join(x.split()) for x in page.locator("button").all_inner_texts()]
            assert f"with {words}" in labels, labels
        assert hostile.TEXTS[0] in page.inner_text(".ivg-head h1")
        assert "No test images" in page.inner_text(".ivg-head p")
        bad = site.folder / "bad.png"
        bad.write_bytes(b"no image")
        explorable.upload(page, bad)
        assert "damaged or no image" in explorable.sentence(page)
        assert hostile.unharmed(page), hostile.unharmed(page)
        errors = [c for c in found.complaints if "favicon" not in c]
        assert not found.left and not [c for c in errors if "onerror" in c or "marked" in c]
    figure("security", "hostile names in the explorer's page", 4)
