"""The page itself, in Gradio. It asks nothing of other machines, and tells them nothing."""

from __future__ import annotations

import importlib.resources
import os
import pathlib
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported
import gradio as gr
from gradio.themes import Default

from deepam_tf.app import jobs
from deepam_tf.app.examples import write_examples
from deepam_tf.files import pictures as image_io

__all__ = ["make_page", "serve"]

_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'self'"
)
_PICTURES = sorted(image_io.READ_SUFFIXES)
_MAPS = [".png", ".tif", ".tiff", ".npy"]
_KEEP_SECONDS = 3600
_SAFE_NAME = re.compile(r"[^\w.() -]+")


class StoppedError(Exception):
    """Raised out of a job that its user has stopped."""


class _Stops:
    """Which sessions have asked for their job to end."""

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}

    def begin(self, session: str) -> threading.Event:
        self._events[session] = threading.Event()
        return self._events[session]

    def end(self, session: str) -> None:
        self._events.pop(session, None)

    def ask(self, session: str) -> None:
        event = self._events.get(session)
        if event is not None:
            event.set()


class _OwnOrigin:
    """Middleware: the browser may fetch from this server alone, whatever a page says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await self._app(scope, receive, sending)


def _text(name: str) -> str:
    return (importlib.resources.files("deepam_tf.app") / name).read_text(encoding="utf-8")


def make_page(work: pathlib.Path, *, max_megapixels: float = jobs.MAX_MEGAPIXELS) -> gr.Blocks:
    """The page, not yet served.

    Args:
        work: folder for uploads that wait, results and examples.
        max_megapixels: larger pictures are refused before they are decoded.

    Returns:
        The page.
    """
    stops = _Stops()
    examples = write_examples(work / "examples")

    def running(
        job: Callable[..., jobs.Outcome],
        files: list[str | None],
        options: dict[str, Any],
        request: gr.Request,
        progress: gr.Progress,
    ) -> Iterator[tuple[Any, ...]]:
        """One job, from uploads to what the outputs show."""
        nothing = (None, gr.DownloadButton(interactive=False))
        if not all(files):
            yield "**Choose a file first.**", *nothing
            return
        session = str(request.session_hash)
        stop = stops.begin(session)
        folder = work / secrets.token_urlsafe(16)
        folder.mkdir(parents=True)

        def on_progress(done: int, total: int) -> None:
            if stop.is_set():
                raise StoppedError
            progress((done, total), desc="restoring", unit="tiles")

        try:
            sources = [_copied(pathlib.Path(str(file)), folder) for file in files]
            outcome = job(
                *sources,
                folder,
                max_megapixels=max_megapixels,
                on_progress=on_progress,
                **options,
            )
        except StoppedError:
            yield "Stopped.", *nothing
        except (ValueError, MemoryError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            yield f"**error:** {_one_line(error, folder)}", *nothing
        else:
            pictures = {
                "before": _address(outcome.before),
                "after": _address(outcome.after),
                "doubt": None if outcome.doubt is None else _address(outcome.doubt),
            }
            button = gr.DownloadButton(value=str(outcome.file), interactive=True)
            yield "  \n".join(map(_escaped, outcome.notes)), pictures, button
        finally:
            stops.end(session)

    def denoise(
        file,
        grows,
        sigma,
        strength,
        doubt,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008
    ):
        options = {"sigma": sigma or None, "signal_dependent": grows, "strength": strength}
        options["uncertainty"] = doubt
        yield from running(jobs.denoise, [file], options, request, progress)

    def fuse(
        file,
        guide,
        sigma,
        strength,
        doubt,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008
    ):
        options = {"sigma": sigma or None, "strength": strength, "uncertainty": doubt}
        yield from running(jobs.fuse, [file, guide], options, request, progress)

    def upsample(file, guide, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        yield from running(jobs.upsample, [file, guide], {}, request, progress)

    def stop(request: gr.Request) -> str:
        stops.ask(str(request.session_hash))
        return "Stopped."

    def leave(request: gr.Request) -> None:
        stops.ask(str(request.session_hash))

    with gr.Blocks(
        title="deepam", analytics_enabled=False, delete_cache=(600, _KEEP_SECONDS)
    ) as page:
        gr.Markdown(
            "# deepam\nPictures stay on the machine that serves this page. Results are files of "
            "the kind and bit depth that went in."
        )
        with gr.Tab("Denoise", id="denoise"):
            source = _file("Noisy picture", _PICTURES)
            with gr.Accordion("How noisy?", open=False):
                grows = gr.Checkbox(
                    label="The noise grows with the light, as in raw pictures", elem_id="grows"
                )
                sigma = _sigma()
            strength, doubt = _strength(), _doubt("denoise")
            inputs = [source, grows, sigma, strength, doubt]
            _row("denoise", denoise, stop, inputs, examples["denoise"])
        with gr.Tab("Fuse with near infrared", id="fuse"):
            with gr.Row():
                color = _file("Noisy colour picture", _PICTURES)
                infrared = _file("Near infrared picture of the same view", _PICTURES)
            with gr.Accordion("How noisy?", open=False):
                sigma = _sigma()
            strength, doubt = _strength(), _doubt("fuse")
            inputs = [color, infrared, sigma, strength, doubt]
            _row("fuse", fuse, stop, inputs, examples["fuse"])
        with gr.Tab("Upsample depth", id="upsample"):
            with gr.Row():
                coarse = _file("Coarse depth map, 0 where nothing was measured", _MAPS)
                color = _file("Colour picture of the same view", _PICTURES)
            _row("upsample", upsample, stop, [coarse, color], examples["upsample"])
        page.unload(leave)
    return page


def _row(
    name: str,
    job: Callable[..., Any],
    stop: Callable[..., Any],
    inputs: list[Any],
    examples: list[list[str]],
) -> None:
    """The lower part of a tab: buttons, what was found, before and after, download."""
    with gr.Row():
        start = gr.Button("Restore", variant="primary", elem_id=f"{name}-start")
        cancel = gr.Button("Stop", elem_id=f"{name}-stop")
        download = gr.DownloadButton("Download", interactive=False, elem_id=f"{name}-download")
    notes = gr.Markdown(elem_id=f"{name}-notes", min_height=30)
    compare = gr.HTML(
        None,
        html_template=_text("compare.html"),
        css_template=_text("compare.css"),
        js_on_load=_text("compare.js"),
        apply_default_css=False,
        elem_id=f"{name}-compare",
    )
    files = [component for component in inputs if isinstance(component, gr.File)]
    gr.Examples(examples, files, label="Examples", examples_per_page=4)
    run = start.click(
        job, inputs, [notes, compare, download], concurrency_id="jobs", api_visibility="private"
    )
    cancel.click(stop, None, notes, queue=False, cancels=[run], api_visibility="private")


def _file(label: str, types: list[str]) -> gr.File:
    return gr.File(label=label, file_types=types, type="filepath", height=120)


def _sigma() -> gr.Number:
    return gr.Number(
        label="Noise level, sigma of 255; empty: measured", value=None, minimum=0, maximum=255
    )


def _strength() -> gr.Slider:
    return gr.Slider(
        0.5,
        1.5,
        1.0,
        step=0.05,
        label="Strength",
        info="Below 1 keeps more grain, and more detail.",
    )


def _doubt(name: str) -> gr.Checkbox:
    return gr.Checkbox(
        label="Show how sure it is",
        info="Over the result, in colours: dark is sure. Of weights that can tell.",
        elem_id=f"{name}-doubt",
    )


def _copied(upload: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The upload in the job's own folder, under a name that a message and a link can hold."""
    name = _SAFE_NAME.sub("_", upload.name)[-100:]
    place = folder / "in" / name
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place = place.with_name(f"2-{name}")
    shutil.copyfile(upload, place)
    return place


def _one_line(error: Exception, folder: pathlib.Path) -> str:
    """The command's message, of a file that the user knows by its name alone."""
    if isinstance(error, MemoryError):
        return "out of memory. Choose a smaller picture."
    return _escaped(str(error).replace(f"{folder / 'in'}{os.sep}", "").replace("\n", " "))


def _escaped(text: str) -> str:
    """Text as Markdown shows it, letter by letter."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~&])", r"\\\1", text)


def _address(path: pathlib.Path) -> str:
    return f"/gradio_api/file={path}"


def serve(
    work: pathlib.Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    num_jobs: int = 1,
    max_megabytes: float = 200.0,
    max_megapixels: float = jobs.MAX_MEGAPIXELS,
    wait: bool = True,
) -> tuple[gr.Blocks, str]:
    """Serve the page.

    Args:
        work: an empty folder of this server's own.
        host: address to listen at; by default that of this machine for itself alone.
        port: port; by default the first free one from 7860.
        num_jobs: how many restorations run at once; the others queue.
        max_megabytes: larger uploads are refused.
        max_megapixels: larger pictures are refused before they are decoded.
        wait: whether to return only when the server is interrupted.

    Returns:
        The page and its address.

    Raises:
        OSError: if the port is taken.
    """
    page = make_page(work, max_megapixels=max_megapixels)
    page.queue(max_size=8 * num_jobs, default_concurrency_limit=num_jobs, api_open=False)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        allowed_paths=[str(work)],
        app_kwargs={"middleware": [Middleware(_OwnOrigin)], "docs_url": None, "redoc_url": None},
        css="footer { display: none !important; }",
        footer_links=[],
        max_file_size=int(max_megabytes * 2**20),
        prevent_thread_lock=not wait,
        quiet=True,
        share=False,
        ssr_mode=False,
        theme=Default(primary_hue="teal", font=["system-ui", "sans-serif"]),
    )
    return page, address
