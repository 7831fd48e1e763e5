"""The page, in a real Chromium with a display of its own.

    python -m pytest -m browser

needs the extra `app`, selenium, chromium and its driver. What the fixtures start they end.
"""

from __future__ import annotations

import json
import pathlib
import re
import select
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

pytestmark = pytest.mark.browser

WAIT = 300  # seconds; the machine may be busy, and the first restoration loads a network
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
)


def find(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a page that takes files of up to 4 megabytes and 1 megapixel."""
    pytest.importorskip("gradio")
    log = (tmp_path_factory.mktemp("server") / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "deepam_tf", "app", "--port", "7893", "--max-megabytes", "4"]
        + ["--max-megapixels", "1"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], WAIT)[0], "the server did not start"
        address = process.stdout.readline().split()[0]
        assert address == "http://127.0.0.1:7893/"
        yield address
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        log.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One window, and a folder that it downloads to."""
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = find("chromium", "chromium-browser", "google-chrome"), find("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium or no chromedriver on this machine")
    folder = tmp_path_factory.mktemp("browser")
    downloads = folder / "downloads"
    downloads.mkdir()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    window = webdriver.Chrome(options=options, service=service)
    window.downloads = downloads  # type: ignore[attr-defined]
    try:
        yield window
    finally:
        window.quit()


@pytest.fixture
def page(browser, server):
    browser.set_window_size(1200, 900)
    browser.get(server)
    until(lambda: css(browser, "#denoise-start"))
    return browser


def css(browser, selector: str):
    """The elements that are shown."""
    return [x for x in browser.find_elements("css selector", selector) if x.is_displayed()]


def until(condition, message: str = "", seconds: float = WAIT):
    """Wait for something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            result = condition()
        except Exception as error:  # elements are replaced while they are looked at
            result, message = None, str(error)
        if result:
            return result
        time.sleep(0.2)
    raise AssertionError(f"waited for {seconds} s: {message}")


def upload(browser, *paths: pathlib.Path) -> None:
    inputs = [
        x
        for x in browser.find_elements("css selector", "input[type=file]")
        if x.find_element("xpath", "ancestor::*[@role='tabpanel'][1]").is_displayed()
    ]
    for number, (element, path) in enumerate(zip(inputs, paths, strict=True), 1):
        element.send_keys(str(path))
        until(lambda number=number: len(css(browser, ".file-preview")) >= number, path.name)


def start(browser, tab: str = "denoise") -> None:
    css(browser, f"#{tab}-start")[0].click()


def notes(browser, tab: str = "denoise") -> str:
    return browser.find_element("id", f"{tab}-notes").text


def restored(browser, tab: str = "denoise"):
    """The picture after, once it has been loaded."""

    def loaded():
        images = css(browser, f"#{tab}-compare img.after")
        width = "return arguments[0].complete && arguments[0].naturalWidth"
        return images and browser.execute_script(width, images[0]) and images[0]

    return until(loaded, f"no picture; the page says {notes(browser, tab)!r}")


def download(browser, name: str, tab: str = "denoise") -> pathlib.Path:
    path = browser.downloads / name
    css(browser, f"#{tab}-download")[0].click()
    until(lambda: path.exists() and path.stat().st_size > 0, f"no {name}")
    return path


@pytest.fixture
def noisy(tmp_path, rng):
    """A 16-bit colour picture with noise, 72 wide and 64 high."""
    clean = np.kron(rng.integers(9000, 56000, (8, 9, 3)), np.ones((8, 8, 1)))
    path = tmp_path / "noisy picture.png"
    values = np.clip(clean + 4000 * rng.normal(size=clean.shape), 0, 65535)
    cv2.imwrite(str(path), values.astype(np.uint16))
    return path


def test_the_download_is_what_the_command_writes(page, noisy, tmp_path):
    upload(page, noisy)
    start(page)
    restored(page)
    assert re.search(r"noise estimated, sigma \d+\.\d", notes(page))
    assert "weights: denoise_" in notes(page)
    file = download(page, "noisy picture-restored.png")
    command = tmp_path / "command.png"
    subprocess.run(
        [sys.executable, "-m", "deepam_tf", "denoise", str(noisy), str(command)], check=True
    )
    assert file.read_bytes() == command.read_bytes()
    assert cv2.imread(str(file), cv2.IMREAD_UNCHANGED).dtype == np.uint16


def test_the_slider_moves_the_line_and_the_sizes_are_those_of_the_pixels(page, noisy):
    upload(page, noisy)
    start(page)
    after = restored(page)
    line = css(page, "#denoise-compare .line")[0]
    view = css(page, "#denoise-compare .view")[0]
    slider = css(page, "#denoise-compare .at")[0]
    for value in (20, 80):
        page.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            slider,
            value,
        )
        place = (line.rect["x"] + 1 - view.rect["x"]) / view.rect["width"]
        assert abs(place - value / 100) < 0.02
        clip = css(page, "#denoise-compare .before")[0].value_of_css_property("clip-path")
        assert clip != "none"
    for zoom, width in (("1", 72), ("3", 216)):
        css(page, f"#denoise-compare [data-zoom='{zoom}']")[0].click()
        assert after.rect["width"] == pytest.approx(width, abs=0.5)
    css(page, "#denoise-compare [data-zoom='fit']")[0].click()
    assert after.rect["width"] == pytest.approx(view.rect["width"], abs=3)


def test_the_picture_shows_noise_before_the_line_and_none_behind_it(page):
    """Also makes the screenshots of the documentation, in build/screenshots."""
    folder = pathlib.Path(__file__).parent.parent.parent / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    page.set_window_size(1100, 1250)
    row = until(lambda: css(page, "[role=tabpanel] table tbody tr, .gallery-item"))[0]
    page.execute_script("arguments[0].click()", row)
    until(lambda: css(page, ".file-preview"))
    start(page)
    restored(page)
    time.sleep(1)
    css(page, "#denoise-compare .view")[0].screenshot(str(folder / "view.png"))
    view = cv2.imread(str(folder / "view.png"), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    middle = view.shape[1] // 2
    before, behind = view[8:40, 8 : middle // 2], view[8:40, -middle // 2 : -8]  # plain backdrop
    assert before.std() > 4 * behind.std()
    page.execute_script("window.scrollTo(0, 0)")
    page.save_screenshot(str(folder / "app.png"))


def test_what_is_in_doubt_is_shown_over_the_result_and_hidden_again(page, tmp_path, rng):
    edge = np.where(np.arange(96) < 48, 60, 190)[np.newaxis] * np.ones([96, 1])
    path = tmp_path / "edge.png"
    cv2.imwrite(str(path), np.uint8(np.clip(edge + 20 * rng.normal(size=edge.shape), 0, 255)))
    upload(page, path)
    page.find_element("css selector", "#denoise-doubt input").click()
    start(page)
    after = restored(page)
    over = until(lambda: css(page, "#denoise-compare img.doubt"))[0]
    assert over.rect == after.rect
    assert page.execute_script("return arguments[0].naturalWidth", over) == 96
    assert "dark is sure" in notes(page)
    button = css(page, "#denoise-compare [data-doubt]")[0]
    for shown in (False, True):
        button.click()
        assert over.is_displayed() is shown
        assert button.get_attribute("aria-pressed") == str(shown).lower()


def test_where_doubt_cannot_be_told_the_picture_is_restored_all_the_same(page, noisy):
    """Of noise that is removed in part nobody knows it."""
    upload(page, noisy)
    page.find_element("css selector", "#denoise-doubt input").click()
    number = css(page, "#component-0, input[type=number]")[-1]
    number.clear()
    number.send_keys("0.5\t")
    start(page)
    restored(page)
    assert "how sure it is cannot be shown" in notes(page)
    assert not css(page, "#denoise-compare img.doubt")
    assert not css(page, "#denoise-compare [data-doubt]")


def test_a_downloaded_picture_keeps_its_profile(page, tmp_path, rng):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.uint8(np.clip(128 + 20 * rng.normal(size=(48, 56, 3)), 0, 255))
    path = tmp_path / "profiled.png"
    Image.fromarray(pixels).save(path, icc_profile=profile)
    upload(page, path)
    start(page)
    restored(page)
    with Image.open(download(page, "profiled-restored.png")) as written:
        assert written.info["icc_profile"] == profile
        assert np.std(written) < 10  # and it has been restored


def test_strength_changes_what_the_network_is_told(page, noisy):
    upload(page, noisy)
    number = css(page, "#component-0, input[type=number]")[-1]
    assert number.get_attribute("value") == "1"
    number.clear()
    number.send_keys("0.5\t")
    start(page)
    restored(page)
    assert "told 0.5 times as much" in notes(page)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("text.png", b"not a picture", r"error: text\.png: "),
        ("empty.png", b"", r"error: empty\.png: the file is empty"),
        ("<b>bold.png", b"GIF89a", r"error: \w*bold\.png: "),
    ],
)
def test_what_is_no_picture_gets_one_line(page, name, content, expected, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    upload(page, path)
    start(page)
    until(lambda: "error" in notes(page), notes(page))
    assert re.match(expected, notes(page))
    assert notes(page).count("\n") == 0
    assert "/tmp" not in notes(page)
    assert not css(page, "#denoise-compare img")


def test_what_is_too_large_is_refused(page, tmp_path, noisy):
    wide = tmp_path / "wide.png"
    cv2.imwrite(str(wide), np.zeros((1100, 1000), np.uint8))
    upload(page, wide)
    start(page)
    until(lambda: "error: wide.png" in notes(page))
    assert "megapixels" in notes(page)
    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(bytes(5 * 2**20))
    page.refresh()
    until(lambda: css(page, "#denoise-start"))
    page.find_element("css selector", "input[type=file]").send_keys(str(heavy))
    until(lambda: "exceed" in page.page_source.lower() or "too large" in page.page_source.lower())


def test_two_users_get_their_own(page, server, tmp_path, rng):
    windows = {}
    for name, size in (("anna", (40, 48)), ("boris", (56, 64))):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, size, dtype=np.uint8))
        page.switch_to.new_window("tab")
        page.get(server)
        until(lambda: css(page, "#denoise-start"))
        upload(page, path)
        windows[name] = (page.current_window_handle, size)
    for handle, _ in windows.values():
        page.switch_to.window(handle)
        start(page)
    for name, (handle, size) in windows.items():
        page.switch_to.window(handle)
        image = restored(page)
        assert page.execute_script("return arguments[0].naturalWidth", image) == size[1]
        written = cv2.imread(str(download(page, f"{name}-restored.png")), cv2.IMREAD_UNCHANGED)
        assert written.shape == size
        page.close()
    page.switch_to.window(page.window_handles[0])


def test_a_job_is_stopped(page, tmp_path, rng):
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), rng.integers(0, 256, (1000, 1000), dtype=np.uint8))
    upload(page, path)
    start(page)
    until(lambda: "restoring" in page.page_source or "processing" in page.page_source)
    css(page, "#denoise-stop")[0].click()
    until(lambda: notes(page) == "Stopped.", seconds=20)
    time.sleep(3)
    assert not css(page, "#denoise-compare img")


def test_pairs_are_restored_on_a_narrow_screen(page, server):
    page.set_window_size(500, 800)  # headless Chromium has no narrower window ...
    page.execute_cdp_cmd(  # ... but the view may be that of a phone
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        page.get(server)
        until(lambda: css(page, "#denoise-start"))
        width = "return document.documentElement.scrollWidth - window.innerWidth"
        for tab, model in (("Fuse with near infrared", "fuse"), ("Upsample depth", "upsample")):
            tabs = [x for x in css(page, "button[role=tab]") if x.text == tab]
            if not tabs:  # those that find no room are behind a button
                css(page, ".overflow-menu > button")[0].click()
                tabs = until(lambda tab=tab: [x for x in css(page, "button") if x.text == tab])
            page.execute_script("arguments[0].click()", tabs[0])
            until(lambda model=model: css(page, f"#{model}-start"))
            assert page.execute_script(width) <= 0
            row = until(lambda: css(page, "[role=tabpanel] table tbody tr, .gallery-item"))[0]
            page.execute_script("arguments[0].click()", row)
            until(lambda: "scene-" in page.page_source)
            time.sleep(1)
            page.execute_script("arguments[0].click()", css(page, f"#{model}-start")[0])
            image = restored(page, model)
            assert page.execute_script("return arguments[0].naturalWidth", image) == 256
            assert page.execute_script(width) <= 0
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_asked_of_other_machines(page, server):
    page.get_log("performance")
    page.get(server)
    until(lambda: css(page, "#denoise-start"))
    time.sleep(2)
    asked = set()
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    assert asked
    for url in asked:
        assert url.startswith((server, "data:", "blob:", "chrome:")), url
