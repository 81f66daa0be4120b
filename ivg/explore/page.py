"""The page: Gradio's components and what happens when they are used."""

import functools
import html
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ivg.data import resize
from ivg.errors import UserError
from ivg.explore import pictures, style
from ivg.explore import state as states
from ivg.explore.explorer import Explorer
from ivg.explore.state import State

TITLE = "ivg explorer"


def gradio() -> Any:
    """The package, told to ask nothing of any network, before it is imported.

    Raises:
        UserError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio as gr
    except ImportError:
        raise UserError("the explorer needs Gradio: pip install 'ivg[explore]'.") from None
    return gr


class Controls(NamedTuple):
    """The components that say what is shown, and the image itself.

    state: of the session, before the controls were touched.
    picks: class buttons, by the name of their code.
    sliders: in the explorer's order.
    seed: of everything that is drawn.
    picture, source: the image, and the one that it was encoded from.
    """

    state: Any
    picks: dict[str, Any]
    sliders: list[Any]
    seed: Any
    picture: Any
    source: Any

    @property
    def settings(self) -> list[Any]:
        """What handlers read: `Page.now` makes a state of their values."""
        return [self.state, *self.picks.values(), *self.sliders]

    @property
    def everything(self) -> list[Any]:
        """What handlers that set the controls give; `Page.shown` gives their values."""
        return [*self.settings, self.picture, self.source]


class Page(NamedTuple):
    """An explorer and Gradio, while the page is laid out."""

    explorer: Explorer
    gr: Any

    def now(self, state: State, *values: Any) -> State:
        """The state that the controls stand for."""
        names = states.classes(self.explorer.model.codes)
        picked = dict(zip(names, map(int, values[: len(names)]), strict=True))
        return states.moved(state, self.explorer.sliders, values[len(names) :], picked)

    def shown(self, state: State, source: str | None = "") -> list[Any]:
        """Values of `Controls.everything` for a state; source None leaves that image."""
        picks = [str(states.chosen(state, n)) for n in states.classes(self.explorer.model.codes)]
        values = [states.value(state, slider) for slider in self.explorer.sliders]
        original = self.gr.skip() if source is None else source
        return [state, *picks, *values, self.explorer.large(state), original]

    def said(self, handler: Callable) -> Callable:
        """The handler with a user's mistake shown in the page as its sentence."""

        @functools.wraps(handler)
        def safe(*values: Any) -> Any:
            try:
                return handler(*values)
            except UserError as error:  # Gradio shows a message as HTML
                words = html.escape(str(error), quote=False)
                raise self.gr.Error(words, print_exception=False) from None

        return safe


def blocks(explorer: Explorer) -> Any:
    """The page of an explorer: Gradio's `Blocks`."""
    gr = gradio()
    page = Page(explorer, gr)
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=False) as made:
        gr.HTML(_head(explorer), elem_classes="ivg-head")
        with gr.Row(elem_classes="ivg-top"):
            controls = _top(page)
        _live(page, controls)
        if explorer.codes:
            with gr.Accordion("Traverse a code", open=True, elem_classes="ivg-traverse"):
                _traverse(page, controls)
        if len(explorer.images) > 1:
            with gr.Accordion("Interpolate", open=False, elem_classes="ivg-interpolate"):
                _interpolate(page)
    _only_uploads(made, gr)
    # One at a time, however many clicks or tabs: they share a processor.
    return made.queue(max_size=32, default_concurrency_limit=1)


def _only_uploads(made: Any, gr: Any) -> None:
    """Has Gradio take files from the folder of uploads alone.

    A request may name any file, for any component, and Gradio copies it to where it can be asked
    for; whether it was uploaded is looked at only in a page that Gradio launched itself. An address
    in the place of a file would be fetched.
    """
    made.has_launched = True

    async def uploaded(path: str | pathlib.Path | None) -> str | None:
        folder = pathlib.Path(os.environ.get("GRADIO_TEMP_DIR") or os.devnull).resolve()
        if path is not None and not pathlib.Path(path).resolve().is_relative_to(folder):
            raise gr.Error("This file was not uploaded.", print_exception=False)
        return None if path is None else str(path)

    for block in made.blocks.values():
        block.async_move_resource_to_block_cache = uploaded


def _head(explorer: Explorer) -> str:
    model, note = explorer.model, html.escape(explorer.note)
    name = (
        f"{html.escape(model.data)} <span>{html.escape(model.method)}, step {model.step:,}</span>"
    )
    return f"<h1>{name}</h1>" + (f"<p>{note}</p>" if note else "")


# ---- the image and its controls ------------------------------------------------------------------


def _top(page: Page) -> Controls:
    """The image on the left, its controls on the right."""
    gr, explorer = page.gr, page.explorer
    begin, noisy = states.middle(explorer.model.codes), bool(states.noises(explorer.model.codes))
    with gr.Column(scale=2, min_width=300):
        picture = gr.HTML(explorer.large(begin), elem_id="picture")
        source = gr.HTML("", elem_id="source")
    with gr.Column(scale=3, min_width=320):
        with gr.Row(elem_classes="ivg-buttons"):
            draw = gr.Button("Random", size="sm", min_width=80, elem_id="draw")
            noise = gr.Button("New noise", size="sm", min_width=80, elem_id="noise", visible=noisy)
            reset = gr.Button("Middle", size="sm", min_width=80, elem_id="reset")
            seed = gr.Number(0, label="seed", precision=0, minimum=0, elem_id="seed", min_width=90)
        controls = Controls(
            state=gr.State(begin),
            picks=_picks(page, begin),
            sliders=_sliders(page, begin),
            seed=seed,
            picture=picture,
            source=source,
        )
        if explorer.model.attributes:
            _attributes(page, controls)
        if explorer.model.can_encode:
            _start(page, controls)
    _draws(page, controls, draw, noise, reset)
    return controls


def _picks(page: Page, begin: State) -> dict[str, Any]:
    codes = page.explorer.model.codes
    return {
        name: page.gr.Radio(
            [str(i) for i in range(codes[name].size)],
            value=str(states.chosen(begin, name)),
            label=f"class {name}",
            elem_id=f"pick-{name}",
            elem_classes="ivg-pick",
        )
        for name in states.classes(codes)
    }


def _sliders(page: Page, begin: State) -> list[Any]:
    def made(numbers: Sequence[int]) -> list[Any]:
        sliders = [page.explorer.sliders[i] for i in numbers]
        return [
            page.gr.Slider(
                s.low,
                s.high,
                value=states.value(begin, s),
                step=states.STEP,
                label=s.label,
                elem_id=f"slider-{s.code}{s.axis + 1}",
                min_width=200,
                buttons=[],
            )
            for s in sliders
        ]

    gr, count, total = page.gr, len(page.explorer.shown), len(page.explorer.sliders)
    with gr.Row(elem_classes="ivg-sliders"):
        shown = made(range(count))
    if total == count:
        return shown
    with gr.Accordion(f"{total - count} more codes", open=False):
        with gr.Row(elem_classes="ivg-sliders"):
            return shown + made(range(count, total))


def _live(page: Page, controls: Controls) -> None:
    """Moving a slider or choosing a class changes the image at once."""
    moves = [c.input for c in (*controls.picks.values(), *controls.sliders)]
    if not moves:
        return
    page.gr.on(
        moves,
        page.said(lambda *values: page.explorer.large(page.now(*values))),
        controls.settings,
        controls.picture,
        # While one image is made, of all further moves only the last counts.
        **_event(page, trigger_mode="always_last"),
    )


def _draws(page: Page, controls: Controls, draw: Any, noise: Any, reset: Any) -> None:
    explorer, seed = page.explorer, controls.seed
    everything = [*controls.everything, seed]
    codes = explorer.model.codes

    def drawn(number: int) -> list[Any]:
        return page.shown(explorer.drawn(number))

    def renoised(number: int, *values: Any) -> list[Any]:
        return page.shown(explorer.with_noise(page.now(*values), number), None)

    def again(number: float | None, *values: Any) -> list[Any]:
        number = _seed(number)
        return renoised(number, *values) if states.noises(codes) else drawn(number)

    once = _event(page, trigger_mode="once")
    draw.click(
        page.said(lambda n: [*drawn(_seed(n) + 1), _seed(n) + 1]), [seed], everything, **once
    )
    noise.click(
        page.said(lambda n, *v: [*renoised(_seed(n) + 1, *v), _seed(n) + 1]),
        [seed, *controls.settings],
        everything,
        **once,
    )
    seed.submit(page.said(again), [seed, *controls.settings], controls.everything, **once)
    reset.click(
        page.said(lambda: page.shown(states.middle(codes))), None, controls.everything, **once
    )


def _attributes(page: Page, controls: Controls) -> None:
    """Buttons that draw c from p(c | y), z kept."""
    gr, explorer = page.gr, page.explorer
    for i, name in enumerate(explorer.model.attributes):
        with gr.Row(elem_classes="ivg-buttons"):
            for value, word in enumerate(("without", "with")):

                def swapped(n: float, *values: Any, i: int = i, value: int = value) -> list[Any]:
                    state = explorer.with_attribute(page.now(*values), i, value, _seed(n) + 1)
                    return [*page.shown(state, None), _seed(n) + 1]

                button = gr.Button(
                    f"{word} {name}", size="sm", min_width=80, elem_id=f"{word}-{name}"
                )
                button.click(
                    page.said(swapped),
                    [controls.seed, *controls.settings],
                    [*controls.everything, controls.seed],
                    **_event(page, trigger_mode="once"),
                )


def _event(page: Page, *, trigger_mode: str) -> dict[str, Any]:
    """What all events share.

    trigger_mode: "once" passes over what is clicked meanwhile, for buttons that draw anew;
        "always_last" takes the last of it afterwards, for choices, none of which may be lost.
    """
    return {
        "trigger_mode": trigger_mode,
        "show_progress": "hidden",
        "api_visibility": "private",
        "concurrency_id": "model",
        "concurrency_limit": 1,
    }


def _seed(number: float | None) -> int:
    """A seed of what stands in the box."""
    return min(max(int(number or 0), 0), 2**31 - 2)


# ---- images to start from ------------------------------------------------------------------------


def _picker(page: Page, name: str, words: str) -> Any:
    """Test images to click; its value is the number of the last one."""
    return page.gr.HTML(
        -1,
        html_template=pictures.choices(page.explorer.images, words),
        js_on_load=style.PICK,
        elem_id=name,
        elem_classes="ivg-picker",
    )


def _start(page: Page, controls: Controls) -> None:
    """Encode a test image or an upload."""
    gr, explorer = page.gr, page.explorer
    names = list(explorer.model.attributes)

    def of_example(number: int) -> list[Any]:
        source = pictures.small(explorer.images[number], "encoded from")
        return page.shown(explorer.encoded_example(number), source)

    def of_upload(path: str, present: Sequence[str] = ()) -> list[Any]:
        image = explorer.upload(pathlib.Path(path).read_bytes())
        y = np.array([name in present for name in names], np.float32)
        return page.shown(explorer.encoded(image, y), pictures.small(image, "encoded from"))

    if len(explorer.images):
        picker = _picker(page, "examples", "Encode a test image")
        picker.click(
            page.said(of_example),
            picker,
            controls.everything,
            **_event(page, trigger_mode="always_last"),
        )
    with gr.Row(elem_classes="ivg-buttons"):
        upload = gr.UploadButton(
            "Encode an image of yours",
            size="sm",
            file_types=list(resize.SUFFIXES),
            type="filepath",
            elem_id="upload",
        )
        present = gr.CheckboxGroup(names, label="which has", elem_id="has", visible=bool(names))
    upload.upload(
        page.said(of_upload),
        [upload, present] if names else [upload],
        controls.everything,
        **_event(page, trigger_mode="always_last"),
    )


# ---- strips --------------------------------------------------------------------------------------


def _traverse(page: Page, controls: Controls) -> None:
    gr, explorer = page.gr, page.explorer
    labels = {f"{s.code}{s.axis + 1}": s.label for s in explorer.sliders}
    choices = [(labels.get(code, f"class {code}"), code) for code in explorer.codes]
    first = f"{explorer.shown[0].code}{explorer.shown[0].axis + 1}" if explorer.shown else "d"
    with gr.Row(elem_classes="ivg-buttons"):
        code = gr.Dropdown(choices, value=first, label="code to move", elem_id="code")
        go = gr.Button("Traverse from the image above", size="sm", elem_id="traverse")
    strip = gr.HTML("", elem_id="traversal")
    gr.on(
        [go.click, code.input],
        page.said(lambda name, *values: explorer.traversal(page.now(*values), name)),
        [code, *controls.settings],
        strip,
        **_event(page, trigger_mode="always_last"),
    )


def _interpolate(page: Page) -> None:
    gr, explorer = page.gr, page.explorer
    with gr.Row():
        pickers = [_picker(page, "from", "From"), _picker(page, "to", "To")]
    strip = gr.HTML("", elem_id="interpolation")

    def between(*numbers: int) -> str:
        if min(numbers) < 0:  # one of them is still to be chosen
            return ""
        return explorer.interpolation(*(explorer.encoded_example(number) for number in numbers))

    gr.on(
        [picker.click for picker in pickers],
        page.said(between),
        pickers,
        strip,
        **_event(page, trigger_mode="always_last"),
    )
