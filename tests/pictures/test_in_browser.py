"""The page of a timeline in a real browser: it is drawn, can be moved about in, tells what is under the pointer, and is only a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from browser_kit import Browser, missing_programs, open_browser
from observers_kit import Stage
from trio_pipes import Direction, Frame, FrameProcessor, TextFrame
from trio_pipes.observers import Timeline
from trio_pipes.observers._ring import STOPPED, WAITED, Ring
from trio_pipes.observers._timeline_page import page
from trio_pipes.observers._timeline_taken import Row, Taken

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.title=1</script><img src=x onerror=document.title=2>"


class Slow(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await trio.sleep(0.5)
        await self.push_frame(frame, direction)


async def talk(place: Path) -> None:
    """Two answers within ten seconds, the second one interrupted; a processor with a name that would like to be a script."""
    timeline = Timeline()
    stage = Stage(Slow(HOSTILE), observers=[timeline])
    async with stage.running():
        for words in ("hello", HOSTILE):
            await stage.user_starts()
            await trio.sleep(1.5)
            await stage.user_stops(at=trio.current_time() - 0.5)
            await stage.push("user", TextFrame(words))
            await trio.sleep(1)
            await stage.bot_starts()
            await trio.sleep(1.5)
            stage.task.interrupt()
            await stage.bot_stops(interrupted=words != "hello")
            await trio.sleep(1)
    await timeline.write_html(place)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}; apt-get install chromium chromium-driver")
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "timeline.html"
    trio.run(talk, path, clock=trio.testing.MockClock(autojump_threshold=0))
    return path


@pytest.fixture
def window(browser: Browser, written: Path) -> Browser:
    browser.complaints()
    browser.show(written)
    return browser


def view(window: Browser) -> tuple[float, float]:
    """From when to when it shows, in seconds."""
    start, end = window.run("return document.getElementById('canvas').dataset.view").split()
    return float(start) / 1e6, float(end) / 1e6


def place(window: Browser, at: float, row: str) -> tuple[int, int]:
    """Where a moment of a row, or of a band, is in the window."""
    script = """
        const [at, name] = arguments, one = [...rows, ...bands].find(it => it.name === name);
        canvas.scrollIntoView({block: "center"});
        const box = canvas.getBoundingClientRect();
        return [Math.round(box.left + x(at * 1e6)), Math.round(box.top + one.y + one.h / 2)];
    """
    across, down = window.run(script, at, row)
    return across, down


def tip(window: Browser) -> str:
    words: str = window.run(
        "const tip = document.getElementById('tip'); return tip.style.display === 'block' ? tip.textContent : ''"
    )
    return words


def point(window: Browser, at: float, row: str) -> str:
    across, down = place(window, at, row)
    window.act({"type": "pointerMove", "x": across, "y": down, "duration": 0})
    return tip(window)


def test_it_is_drawn(window: Browser) -> None:
    assert window.complaints() == []
    assert window.run("return canvas.dataset.drawn").startswith("3 rows, ")
    assert window.run("return document.getElementById('legend').textContent").startswith("BotStartedSpeakingFrame")
    across, down = place(window, 2.0, "user waits")
    colour = window.run(
        "const [px, py] = arguments, box = canvas.getBoundingClientRect(), ratio = devicePixelRatio;"
        "return [...pen.getImageData((px - box.left) * ratio, (py - box.top - 8) * ratio, 1, 1).data]",
        *(across, down),
    )
    assert colour[:3] not in ([255, 255, 255], [246, 248, 250])


def test_it_is_only_a_page(window: Browser) -> None:
    assert window.run("return document.title") == "Timeline of " + window.run("return data.tasks[0]")
    assert window.run("return document.images.length") == 0
    assert window.run("return performance.getEntriesByType('resource').length") == 0
    names = window.run("return [...document.querySelectorAll('td:first-child')].map(it => it.textContent)")
    assert names == ["user", HOSTILE[:79] + "…" if len(HOSTILE) > 80 else HOSTILE, "bot"]


# The page names the hash of the one script that it may run: nothing else runs, even if it got into the page.
def test_a_script_that_got_in_would_not_run(window: Browser) -> None:
    window.run(
        "const evil = document.createElement('script'); evil.textContent = 'document.title = 3'; document.body.append(evil)"
    )
    assert window.run("return document.title").startswith("Timeline of")
    assert any("Content Security Policy" in it for it in window.complaints())


def test_the_answers_are_explained(window: Browser) -> None:
    shown = window.run("return [...document.querySelectorAll('.answer')].map(it => it.innerText.replace(/\\s+/g, ' '))")
    assert len(shown) == 2
    for words in (
        "1.00 s",
        "“hello” → “hello”",
        "1500 ms",
        "500 ms silence, until the end was noticed, by user",
        "+1000 ms first sound, by bot",
    ):
        assert words in shown[0]
    assert "silence" not in shown[1], "the steps of one answer are shown"


def test_an_answer_leads_to_its_place(window: Browser) -> None:
    window.run("document.querySelectorAll('.answer')[1].click()")
    window.act(kind="key")
    start, end = view(window)
    assert 4 < start < 6 < 7.5 < end < 9
    assert window.run("return document.querySelector('.chosen .steps').innerText").startswith("1500 ms")


def test_an_address_leads_to_its_place(window: Browser, written: Path) -> None:
    window.show(written, "#view=2,4.5")
    assert view(window) == (2, 4.5)
    window.show(written, "#answer=2")
    assert 4 < view(window)[0] < 6
    window.show(written, "#answer=99&view=5,1")
    assert view(window)[0] < 0 < 9 < view(window)[1]


def test_the_wheel_zooms_where_the_pointer_is(window: Browser) -> None:
    before = view(window)
    across, down = place(window, 3.0, "user")
    window.act({"type": "scroll", "x": across, "y": down, "deltaX": 0, "deltaY": -400, "duration": 0}, kind="wheel")
    after = view(window)
    assert after[1] - after[0] < 0.7 * (before[1] - before[0])
    assert abs(place(window, 3.0, "user")[0] - across) <= 2


def test_dragging_moves(window: Browser) -> None:
    window.run("document.getElementById('in').click()")
    window.act(kind="key")
    before = view(window)
    across, down = place(window, 5.0, "user")
    moves: list[dict[str, Any]] = [
        {"type": "pointerMove", "x": across, "y": down, "duration": 0},
        {"type": "pointerDown", "button": 0},
        {"type": "pointerMove", "x": across - 100, "y": down, "duration": 0},
        {"type": "pointerUp", "button": 0},
    ]
    window.act(*moves)
    after = view(window)
    assert after[0] > before[0]
    assert abs((after[1] - after[0]) - (before[1] - before[0])) < 1e-3
    assert abs(place(window, 5.0, "user")[0] - (across - 100)) <= 2


def test_keys(window: Browser) -> None:
    def press(key: str) -> tuple[float, float]:
        window.act({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}, kind="key")
        return view(window)

    whole = view(window)
    window.run("canvas.focus()")
    closer = press("+")
    assert closer[1] - closer[0] < whole[1] - whole[0]
    assert press("\ue014")[0] > closer[0]  # the arrow to the right
    assert press("\ue012") == closer
    assert press("-") == pytest.approx(whole, abs=0.2)
    press("+")
    assert press("0") == whole


def test_what_is_under_the_pointer(window: Browser) -> None:
    told = point(window, 1.7, HOSTILE)
    assert told.startswith(f"{HOSTILE}\nhandled TextFrame#")
    assert "from 1.500 s, for 500 ms" in told
    assert "“hello”" in point(window, 0.5, "user speaks")
    assert "▸ 3: 1000 ms  first sound, by bot" in point(window, 2.2, "user waits")
    assert "cut off" in point(window, 8.5, "bot speaks")
    assert "interrupt at 4.000 s" in point(window, 4.0, "user")
    across, down = place(window, 0, "user")
    window.act({"type": "pointerMove", "x": across - 60, "y": down, "duration": 0})
    assert tip(window) == "", "there are the names"


def test_a_full_one_is_quick(browser: Browser, tmp_path: Path) -> None:
    ring = Ring(100_000)
    for number in range(100_000):
        flags = WAITED if number % 7 == 0 else STOPPED if number % 11 == 0 else 0
        ring.put(
            number / 1000,
            number / 1000 + (number % 13) / 1000,
            number % 5 / 1000,
            number + 1,
            number % 12,
            number % 9,
            flags,
        )
    rows = [Row(0, number, f"row {number}") for number in range(12)]
    path = tmp_path / "full.html"
    path.write_text(
        page(Taken(ring.copy(), (), (), (), ["full"], rows, [f"Class{number}Frame" for number in range(9)], 0))
    )
    browser.show(path)
    assert browser.complaints() == []
    assert browser.run("return canvas.dataset.drawn") == "12 rows, 100000 works"
    slow = browser.run(
        "const began = performance.now(); for (let i = 0; i < 5; i++) draw(); return (performance.now() - began) / 5"
    )
    assert slow < 500, "milliseconds for one picture; some 20 where nothing else is going on"
