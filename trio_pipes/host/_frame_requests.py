"""Frames that ask something of their task, queued from outside or pushed by a processor."""

from __future__ import annotations

from typing import Any

from trio_pipes.flow import (
    CancelFrame,
    CancelTaskFrame,
    EndFrame,
    EndTaskFrame,
    Frame,
    Heartbeat,
    InterruptionFrame,
    InterruptionTaskFrame,
    LifecycleFrame,
    PauseUrgentFrame,
    ResumeFrame,
    StartFrame,
    StopFrame,
    StopTaskFrame,
)

from ._task_state import FINAL, TaskState

__all__ = ["answer_pushed", "answer_queued", "is_request"]

_REQUESTS = (
    LifecycleFrame,
    Heartbeat,
    CancelFrame,
    InterruptionFrame,
    EndTaskFrame,
    StopTaskFrame,
    CancelTaskFrame,
    InterruptionTaskFrame,
    PauseUrgentFrame,
    ResumeFrame,
)


def is_request(frame: Frame) -> bool:
    """Whether a frame that is queued asks something, and does not go in."""
    return isinstance(frame, _REQUESTS)


def answer_queued(task: Any, frame: Frame) -> None:
    """From outside, where an interrupt needs nobody's leave, and what comes too late is told."""
    if isinstance(frame, StartFrame):
        task._start_with(frame)
    elif isinstance(frame, InterruptionFrame | InterruptionTaskFrame):
        task.interrupt()
    else:
        if isinstance(frame, EndFrame | StopFrame | EndTaskFrame | StopTaskFrame):
            task._entrance.check()
        if isinstance(frame, EndFrame | StopFrame):
            task._ask_end(frame)
        else:
            answer_pushed(task, frame)


def answer_pushed(task: Any, frame: Frame) -> None:
    """From inside."""
    match frame:
        case EndFrame() | EndTaskFrame():
            task._ask_end(EndFrame(reason=frame.reason))
        case StopFrame() | StopTaskFrame():
            task._ask_end(StopFrame(reason=frame.reason))
        case CancelTaskFrame() | CancelFrame():
            task.cancel(frame.reason)
        case InterruptionTaskFrame() | InterruptionFrame():
            task._engine.ask_interrupt()
        case PauseUrgentFrame() | ResumeFrame():
            if task.state in (TaskState.NEW, *FINAL):
                raise RuntimeError(f"{task.name}: {frame.name} acts at once, and the task is {task.state.name}")
            task._engine.pause_or_resume(frame)
        case Heartbeat():
            pass  # kept by a processor and pushed late: the engine has carried it on already
        case _:
            raise RuntimeError(f"{task.name}: {frame.name} is the task's own, and nobody else can send one")
