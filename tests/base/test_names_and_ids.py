"""Ids are unique in the process; default names count per class."""

import gc
import threading

from trio_pipes import FrameProcessor, Pipeline, TextFrame, each
from trio_pipes._base import default_name, next_id


def test_ids_are_unique_and_grow() -> None:
    ids = [next_id() for _ in range(100)]
    assert ids == sorted(set(ids))


def test_ids_are_unique_across_threads() -> None:
    ids: list[int] = []

    def take() -> None:
        ids.extend([next_id() for _ in range(5000)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 20_000


def test_frames_and_processors_share_one_row_of_ids() -> None:
    things = [TextFrame("a"), FrameProcessor(), TextFrame("b"), Pipeline([FrameProcessor()])]
    assert len({thing.id for thing in things}) == 4


def test_default_names_count_per_class() -> None:
    class Shout(FrameProcessor):
        pass

    class Whisper(FrameProcessor):
        pass

    assert [Shout().name, Whisper().name, Shout().name, Whisper().name] == [
        "Shout#0",
        "Whisper#0",
        "Shout#1",
        "Whisper#1",
    ]


def test_two_classes_of_one_name_count_for_themselves() -> None:
    def make() -> type:
        class Same(FrameProcessor):
            pass

        return Same

    first, second = make(), make()
    assert (first().name, second().name, first().name) == ("Same#0", "Same#0", "Same#1")


def test_a_subclass_counts_for_itself() -> None:
    class Base(FrameProcessor):
        pass

    class Derived(Base):
        pass

    assert (Base().name, Derived().name, Base().name) == ("Base#0", "Derived#0", "Base#1")


def test_a_function_counts_for_itself() -> None:
    @each
    def shout(frame: TextFrame) -> TextFrame:
        return frame

    names = [Pipeline([shout]).processors[0].name for _ in range(2)]
    assert names == ["shout#0", "shout#1"]


def test_names_do_not_keep_classes_alive() -> None:
    import weakref

    class Gone:
        pass

    assert default_name(Gone) == "Gone#0"
    assert default_name(Gone, "label") == "label#1"
    ref = weakref.ref(Gone)
    del Gone
    gc.collect()
    assert ref() is None
