"""One computation a session: begun, watched without blocking, cancelled."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from simlora.dashboard.text import show_mistake
from simlora.dashboard.workers import Worker, Workers, outcome
from simlora.errors import UserError

POLL_S = 0.25
SUPERSEDED = "cancelled, because another page began to compute: a session does one thing at a time"
WAITING = "waiting until one of the server's processes is free"


@dataclass(slots=True)
class Job:
    """What a session has computed: `kind` is what its pages call it, `key` what its result is
    remembered by (None: it is not), `of` the settings that it is of."""

    kind: str
    title: str
    task: str
    arguments: tuple[Any, ...]
    files: Mapping[str, bytes]
    key: str | None
    of: Any = None
    worker: Worker | None = None
    share: float = 0.0
    told: str = WAITING


@dataclass(slots=True)
class Desk:
    """A session's job and what came of the earlier ones: by kind the settings and the result, or a
    mistake."""

    job: Job | None = None
    results: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    mistakes: dict[str, str] = field(default_factory=dict)


@st.cache_resource(show_spinner=False)
def workers() -> Workers:
    """The processes of this server."""
    return Workers()


def desk() -> Desk:
    """This session's."""
    if "desk" not in st.session_state:
        st.session_state["desk"] = Desk()
    found: Desk = st.session_state["desk"]
    return found


def begin(
    kind: str,
    title: str,
    task: str,
    *arguments: Any,
    of: Any = None,
    files: Mapping[str, bytes] | None = None,
    remember: bool = True,
) -> None:
    """Begin a task in place of the session's present one; `title` says what is being done, `of`
    which settings the result is of.

    Its result is `result(kind)` when it is there. An equal task's is there at once if it is still
    remembered.
    """
    own = desk()
    if own.job is not None and own.job.kind != kind:
        own.mistakes[own.job.kind] = SUPERSEDED
    cancel()
    own.mistakes.pop(kind, None)
    files = files or {}
    key = _key(task, arguments, files) if remember else None
    known = workers().kept(key) if key is not None else None
    if known is not None:
        own.results[kind] = of, known
        return
    own.job = Job(kind, title, task, arguments, files, key, of)
    _look(own.job)


def ahead(task: str, *arguments: Any) -> None:
    """Compute a task before any session asks for it, and remember its result; returns when that is
    there. Raises UserError if the task fails."""
    worker = workers().lease()
    if worker is None:
        return
    worker.start(task, arguments, {})
    message = None
    while message is None or message[0] == "progress":
        message = worker.poll(POLL_S)
    workers().keep(_key(task, arguments, {}), outcome(workers(), worker, message))


def cancel() -> None:
    """End the session's job, if there is one; earlier results stay."""
    own = desk()
    if own.job is not None and own.job.worker is not None:
        workers().kill(own.job.worker)
    own.job = None


def result(kind: str) -> Any | None:
    """The latest result of that kind."""
    return desk().results.get(kind, (None, None))[1]


def settings(kind: str) -> Any | None:
    """The settings that it is of."""
    return desk().results.get(kind, (None, None))[0]


def forget(kind: str) -> None:
    """What the latest job of that kind came to is not wanted any more."""
    desk().results.pop(kind, None)
    desk().mistakes.pop(kind, None)


def tell_if_stale(kind: str, present: Any, button: str) -> None:
    """Say so where the result shown is of other settings than the `present` ones."""
    if result(kind) is None or settings(kind) == present:
        return
    if running(kind):
        st.info("These figures are of the earlier settings; new ones are being computed.")
    else:
        st.info(f"The settings have changed since this result: press {button}.")


def shown(kind: str, present: Any, button: str, nothing: str) -> Any | None:
    """What the latest job of that kind found, to be drawn. Says what went wrong with it, that it is
    of other settings than the `present` ones, or `nothing` where there has been none."""
    wrong = mistake(kind)
    if wrong:
        show_mistake(wrong)
    found = result(kind)
    if found is not None:
        tell_if_stale(kind, present, button)
    elif not wrong and not running(kind):
        st.info(nothing)
    return found


def mistake(kind: str) -> str | None:
    """Why the latest job of that kind came to nothing, in a sentence."""
    return desk().mistakes.get(kind)


def running(kind: str) -> bool:
    """Whether a job of that kind is under way."""
    job = desk().job
    return job is not None and job.kind == kind


def watch() -> None:
    """The progress of the session's job, with a button to cancel it."""
    if desk().job is not None:
        _progress()


@st.fragment(run_every=POLL_S)
def _progress() -> None:
    job = desk().job
    if job is None or _look(job):
        st.rerun()
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(max(job.share, 0.0), 1.0), text=f"{job.title}: {job.told}")
    button.button("Cancel", on_click=cancel, key="cancel", width="stretch")


def _look(job: Job) -> bool:
    """Take in what the worker says; whether the job is over."""
    if job.worker is None:
        job.worker = workers().lease()
        if job.worker is None:
            return False
        job.told = "starting"
        job.worker.start(job.task, job.arguments, job.files)
    while message := job.worker.poll():
        if message[0] == "progress":
            job.share, job.told = message[1]
            continue
        own = desk()
        own.job = None
        try:
            found = outcome(workers(), job.worker, message)
        except UserError as error:
            own.mistakes[job.kind] = str(error)
        else:
            own.results[job.kind] = job.of, found
            if job.key is not None:
                workers().keep(job.key, found)
        return True
    return False


def _key(task: str, arguments: tuple[Any, ...], files: Mapping[str, bytes]) -> str:
    digest = hashlib.blake2b(pickle.dumps((task, arguments)), digest_size=16)
    for name, content in files.items():
        digest.update(name.encode())
        digest.update(content)
    return digest.hexdigest()
