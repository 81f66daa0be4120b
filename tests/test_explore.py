"""The explorer without its page: codes, sliders, pictures, uploads, addresses and refusals."""

import asyncio
import base64
import io
import json
import socket
import sys

import explorable
import jax
import numpy as np
import pytest
from PIL import Image

from ivg.errors import UserError
from ivg.explore import __main__ as command
from ivg.explore import explorer, page, pictures, server
from ivg.explore import state as states
from ivg.players import Code

CODES = {"d": Code("categorical", 3), "c": Code("continuous", 4, -2, 2), "z": Code("noise", 5)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("explore")


@pytest.fixture(scope="module")
def digits(folder):
    return explorer.open_run(explorable.make_run(folder / "digits", "infovaegan"))


@pytest.fixture(scope="module")
def faces(folder):
    return explorer.open_run(explorable.make_run(folder / "faces", "mmvae"))


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Compiles in half the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def pixels(html, number=0):
    """The image of the n-th data address in some HTML."""
    data = html.split("base64,")[number + 1].split('"')[0]
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# ---- codes and sliders --------------------------------------------------------------------------


def test_informative_codes_come_first_and_the_rest_is_folded():
    shown, folded = states.sliders(CODES, kl=[0.01, 0.5, 0.0, 2.0])
    assert [s.label for s in shown] == ["c4 · 2.00 nats", "c2 · 0.50 nats"]
    assert [s.axis for s in folded] == [0, 2]
    shown, folded = states.sliders({"z": Code("continuous", 14)})
    assert [s.axis for s in shown + folded] == list(range(14)) and len(shown) == states.SHOWN
    # Where no code says anything, some are shown all the same.
    assert len(states.sliders(CODES, kl=[0.0] * 4)[0]) == 4
    assert states.sliders({"z": Code("noise", 3)}) == ([], [])


def test_dimensions_of_c_are_named_after_their_attributes():
    shown, _ = states.sliders(CODES, ("Hat", "Smile"))
    assert [s.label for s in shown] == ["c1 · Hat", "c2 · Hat", "c3 · Smile", "c4 · Smile"]


def test_kl_is_of_the_evaluation_or_else_as_logged_last(tmp_path):
    assert states.known_kl(tmp_path, 2) is None
    lines = [{"step": i, "E/kl_01": i * 1.0, "E/kl_02": 0.5, "E/kl_z": 9.0} for i in range(9)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert states.known_kl(tmp_path, 2) == [7.0, 0.5]
    assert states.known_kl(tmp_path, 3) is None
    (tmp_path / "results.json").write_text('{"bounds": {"kl": [0.25, 4.0]}}')
    assert states.known_kl(tmp_path, 2) == [0.25, 4.0]
    (tmp_path / "results.json").write_text("torn")
    assert states.known_kl(tmp_path, 2) == [7.0, 0.5]


def test_untouched_controls_keep_codes_exact():
    shown, _ = states.sliders(CODES)
    state = states.middle(CODES) | {"c": np.array([0.12345, 9.0, -1.999, 0], np.float32)}
    state["d"] = np.array([0.2, 0.5, 0.3], np.float32)  # soft, as of an interpolation
    values = [states.value(state, s) for s in shown]
    assert values == [0.12, 2.0, -2.0, 0.0]
    same = states.moved(state, shown, values, {"d": 1})
    assert all(np.array_equal(same[name], state[name]) for name in state)
    values[3] = 1.5
    new = states.moved(state, shown, values, {"d": 2})
    assert new["c"].tolist() == [*state["c"][:3].tolist(), 1.5]
    assert new["d"].tolist() == [0, 0, 1] and state["c"][3] == 0
    assert states.moved(state, shown, [7, *values[1:]], {})["c"][0] == 2.0


def test_the_way_between_two_states_is_straight():
    a, b = states.middle(CODES), states.middle(CODES) | {"c": np.full(4, 2, np.float32)}
    way = states.between(a, b, 5)
    assert way["c"][:, 1].tolist() == [0, 0.5, 1, 1.5, 2] and way["d"].shape == (5, 3)
    assert np.all(way["d"] == a["d"])


# ---- pictures and uploads -----------------------------------------------------------------------


def test_images_are_enlarged_by_whole_pixels():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    large = np.array(Image.open(io.BytesIO(pictures.png(pictures.enlarge(image, 512)))))
    assert large.shape == (512, 512) and np.array_equal(large[::64, ::64], image[..., 0])
    assert (large[:64, 64:128] == 1).all()
    strip = pictures.strip(np.stack([image, image + 100]), tile=16)
    assert strip.shape == (16, 36, 1) and (strip[:, 16:20] == 255).all()
    assert strip[0, 20, 0] == 100
    assert pictures.enlarge(np.zeros((3, 900, 900, 3), np.uint8), 512).shape == (3, 900, 900, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_animations_go_there_and_back(channels):
    frames = np.stack([np.full((8, 8, channels), 40 * i, np.uint8) for i in range(5)])
    moving = Image.open(io.BytesIO(pictures.gif(frames, side=32)))
    assert (moving.n_frames, moving.size, moving.info["loop"]) == (8, (32, 32), 0)
    seen = []
    for i in range(8):
        moving.seek(i)
        seen.append(moving.convert("L").getpixel((5, 5)))
    assert seen == [0, 40, 80, 120, 160, 120, 80, 40]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_uploads_of_every_mode_fit_the_model(mode, channels):
    if mode == "I;16":
        image = Image.fromarray(np.full((40, 60), 51400, np.uint16))
    else:
        image = Image.new("RGB", (60, 40), (200, 200, 200)).convert(mode)
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    read = pictures.read_upload(data, (16, 16, channels))
    assert read.shape == (16, 16, channels) and read.dtype == np.uint8
    assert mode == "1" or np.abs(read.astype(int) - 200).max() <= 8  # dithered


def test_uploads_are_cropped_as_folders_are():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = 255
    data = encoded(Image.fromarray(image))
    assert pictures.read_upload(data, (8, 8, 3)).min() == 255
    assert pictures.read_upload(data, (8, 8, 3), "none").min() == 0
    with pytest.raises(UserError, match="too small for a crop of 30"):
        pictures.read_upload(data, (8, 8, 3), 30)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged or no image"),
        (b"no image at all, but a text", "damaged or no image"),
        (encoded(Image.new("RGB", (50, 50), "red"))[:60], "damaged or no image"),
        (encoded(Image.new("1", (12000, 9000))), "12000 x 9000 pixels; up to 50 million"),
        (encoded(Image.new("1", (20000, 20000))), "20000 x 20000 pixels; up to 50 million"),
        (b"\x89PNG" + bytes(pictures.MOST_BYTES), "has 20 MB; images of up to 20 MB"),
        (encoded(Image.new("RGB", (9, 9)), "TIFF"), "of a kind that is read"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(data, words):
    with pytest.raises(UserError, match=words) as found:
        pictures.read_upload(data, (8, 8, 1))
    assert "\n" not in str(found.value)


def test_words_cannot_become_html():
    html = pictures.large(np.zeros((8, 8, 1), np.uint8), 'a"b', "<script>")
    assert "<script>" not in html and 'download="a&quot;b.png"' in html


# ---- models -------------------------------------------------------------------------------------


def test_encoding_then_generating_is_the_reconstruction(digits):
    assert digits.images.shape == (explorer.TEST_IMAGES, 8, 8, 1) and not digits.note
    state = digits.encoded_example(3)
    (wanted,) = digits.model.reconstruct(digits.images[3:4])
    assert np.array_equal(pixels(digits.large(state))[::64, ::64], wanted[..., 0])
    assert digits.codes[0] == "d" and digits.codes[1:] == ["c1", "c2"]


def test_new_noise_keeps_class_and_style(digits):
    state = digits.drawn(1)
    other = digits.with_noise(state, 2)
    assert not np.array_equal(state["z"], other["z"])
    assert all(np.array_equal(state[name], other[name]) for name in ("c", "d"))
    assert np.array_equal(digits.drawn(2)["z"], other["z"])


def test_strips_show_the_model_s_own_traversal(digits):
    state = digits.drawn(1)
    html = digits.traversal(state, "c2")
    frames = digits.model.traverse("c2", start=states.batch(state), steps=pictures.FRAMES)
    assert "GIF8" in html or "image/gif" in html
    assert np.array_equal(pixels(html, 2), frames[0, ..., 0])  # after the still and the animation
    assert html.count('" alt="traversal of c2, ') == 11  # ten images and the animation
    assert digits.traversal(state, "d").count('" alt="traversal of d, ') == 11
    ends = digits.encoded_example(0), digits.encoded_example(1)
    last = pixels(digits.interpolation(*ends), 11)
    assert np.array_equal(last, digits.model.generate(**states.batch(ends[1]))[0, ..., 0])


def test_attributes_are_swapped_one_at_a_time(faces):
    state = faces.encoded_example(0)
    new = faces.with_attribute(state, 1, 1, seed=4)
    size = len(state["c"]) // 2
    assert np.array_equal(new["c"][:size], state["c"][:size])
    assert not np.array_equal(new["c"][size:], state["c"][size:])
    assert np.array_equal(new["z"], state["z"])
    assert new["c"][size:].mean() > faces.with_attribute(state, 1, 0, seed=4)["c"][size:].mean()
    assert not np.array_equal(
        faces.encoded(faces.images[0], 1 - faces.attributes[0])["c"], state["c"]
    )


def test_what_is_lacking_is_said(folder, faces):
    plain = explorer.open_run(explorable.make_run(folder / "wgan", "wgan_gp"))
    assert plain.note == "wgan_gp has no encoder: images can be generated, not encoded."
    assert not len(plain.images) and not plain.codes
    (folder / "faces_photos").rename(folder / "elsewhere")
    lost = explorer.open_run(faces.model.path)
    (folder / "elsewhere").rename(folder / "faces_photos")
    assert lost.note.startswith("No test images: ") and "faces_photos" in lost.note
    assert lost.model.can_encode and not len(lost.images)


# ---- the command and the server -----------------------------------------------------------------


def refused(capsys, *arguments):
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and not out
    return err


def test_a_port_in_use_is_one_sentence_or_the_next_one(capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is in use" in refused(capsys, "--workdir=x", f"--port={port}")
        monkeypatch.setattr(server, "FIRST_PORT", port)
        with server.listen("127.0.0.1", None) as made:
            assert port < made.getsockname()[1] < port + server.PORTS
            assert server.address(made, "127.0.0.1").startswith("http://127.0.0.1:")
        monkeypatch.setattr(server, "PORTS", 1)
        with pytest.raises(UserError, match="all in use"):
            server.listen("127.0.0.1", None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--workdir"),
        (("--workdir=x", "--host=no such host"), "is no address"),
        (("--workdir=x", "--host=192.0.2.1"), "has no address"),
        (("--workdir=x", "--port=99999"), "is no port"),
        (("--workdir=x", "--port=http"), "invalid int"),
        (("--workdir=x", "--share"), "unrecognized"),
    ],
)
def test_wrong_flags_are_one_sentence(capsys, arguments, words):
    assert words in refused(capsys, *arguments)


def test_without_gradio_the_sentence_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'ivg[explore]'" in refused(capsys, "--workdir=x", "--port=0")
    with pytest.raises(UserError):
        page.gradio()


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_others_are_let_in_only_with_a_warning(capsys, monkeypatch, digits, host, warned):
    told = []
    monkeypatch.setattr(page, "gradio", lambda: None)
    monkeypatch.setattr(explorer, "open_run", lambda workdir: digits)
    monkeypatch.setattr(server, "application", lambda found, local: told.append(local))
    monkeypatch.setattr(server, "serve", lambda app, made: None)
    monkeypatch.setattr(command.compilation, "keep_programs", lambda: None)
    assert command.main(["--workdir=x", f"--host={host}", "--port=0"]) == 0
    out, err = capsys.readouterr()
    assert told == [not warned] and "http://127.0.0.1:" in out
    assert err.startswith(f"warning: --host={host}: whoever reaches") if warned else not err


def asked(host, *, local):
    """Status and headers of an answer to a request that names this host."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"host", host.encode())]}
    asyncio.run(server.guarded(app, local=local)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "localhost:1", "[::1]:7860"])
def test_this_machine_is_answered_with_a_policy(host):
    status, headers = asked(host, local=True)
    assert status == 200 and headers[b"content-security-policy"].startswith(b"default-src 'self'")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""]
)
def test_names_of_other_hosts_are_refused_where_only_this_machine_is_served(host):
    assert asked(host, local=True)[0] == 421
    assert asked(host, local=False)[0] == 200
