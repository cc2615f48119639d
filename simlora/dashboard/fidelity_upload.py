"""Controls for measurements of one's own: upload them, choose a profile or have one fitted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from simlora.calibration.tables import Selection
from simlora.dashboard import jobs
from simlora.dashboard.fidelity_files import (
    MOST_BYTES,
    MOST_FILES,
    SUFFIXES,
    Kind,
    kind_of,
)
from simlora.dashboard.fidelity_fit import FitRequest
from simlora.dashboard.fidelity_tasks import BUDGET_S, MOST_RUNS, Choice
from simlora.dashboard.text import show_mistake
from simlora.dashboard.uploads import files_of, safe_name
from simlora.errors import UserError
from simlora.scenario.catalog import gpu_names, model_names
from simlora.scenario.presets import PRESETS
from simlora.timing.profile import load_profile, profile_names
from simlora.validation.recipe import GPU, MODELS

KIND = "fidelity"
_BUTTON = "Predict them"
_OWN = "a profile of your own"
_FIT = "one fitted to a part of them"
_FITTED_BASE = "fitted too"
_DEFAULT: Mapping[Kind, str] = {
    "published": "the shipped one of each model",
    "s-lora": "the shipped one of each GPU",
    "measured": "what each scenario says",
}
_TOLD: Mapping[Kind, str] = {
    "published": "Published runs of vLLM with LoRA (arXiv 2508.08343)",
    "s-lora": "Published runs of S-LoRA (arXiv 2311.03285)",
    "measured": "Measurements as simlora calibrate reads them",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be predicted, and with what; `digest` is of the files' contents."""

    digest: str
    names: tuple[str, ...]
    selection: Selection
    choice: Choice


def show() -> None:
    """Draw the section."""
    st.caption(
        "Upload what a server was measured to do: a table of steps, adapter loads or runs, or a "
        "JSON result of `vllm bench serve`, as docs/measurements.md describes them; runs.csv of "
        "`simlora live` with the scenario.resolved.yaml beside it; or a table of published runs as "
        "`simlora validate` reads them (recipe bsc or s-lora). Each run is simulated and laid "
        "beside its measurement. Files stay on this server only while they are read; up to "
        f"{MOST_FILES} of them, {MOST_BYTES / 1e6:.0f} MB together."
    )
    uploads = st.file_uploader(
        "Measurements, with the scenarios that they name",
        list(SUFFIXES),
        accept_multiple_files=True,
        key="measured_uploads",
        max_upload_size=MOST_BYTES // 1_000_000,
        help="CSV tables, JSON results, and YAML scenarios of runs.",
    )
    asked = None
    if uploads:
        try:
            files = files_of(uploads)
            asked = _settings(files)
        except UserError as error:
            show_mistake(error)
    if jobs.running(KIND):
        _progress()
    if jobs.mistake(KIND):
        show_mistake(jobs.mistake(KIND))
    found = jobs.result(KIND)
    if found is not None:
        from simlora.dashboard.fidelity_charts import draw

        if asked is not None:
            jobs.tell_if_stale(KIND, asked, _BUTTON)
        draw(found)


@st.fragment(run_every=jobs.POLL_S)
def _progress() -> None:
    """How far it is, where the button is: the page's own bar is out of sight, at its top."""
    job = jobs.desk().job
    if job is None or job.kind != KIND:
        return
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(max(job.share, 0.0), 1.0), text=f"{job.title}: {job.told}")
    button.button("Cancel", on_click=jobs.cancel, key="fidelity_cancel", width="stretch")


def _settings(files: dict[str, bytes]) -> _Asked | None:
    """What the controls ask for; the button begins it. None while something is missing."""
    kind = kind_of(files)
    st.markdown(f"{_TOLD[kind]}.")
    one, two, three = st.columns(3, gap="medium")
    fits = [] if kind == "s-lora" else [_FIT]
    # Without a scenario nothing in the files says what to predict with.
    tables_alone = kind == "measured" and not any(
        name.lower().endswith((".yaml", ".yml")) for name in files
    )
    defaults = [] if tables_alone else [_DEFAULT[kind]]
    chosen = one.selectbox(
        "Predict with",
        [*defaults, *profile_names(), _OWN, *fits],
        key=f"predict_with_{kind}_{tables_alone}",
        help="A fit leaves a part out, and only that part is predicted and judged. Steps and loads "
        "are taken to be of what the profile was measured on.",
    )
    fitting = chosen == _FIT
    most = two.number_input(
        "Runs at most",
        2,
        MOST_RUNS,
        20 if fitting else 30,
        key=f"fidelity_most_{fitting}",
        help="That are simulated, drawn by the seed; a fit simulates each several times. A large "
        f"run takes seconds, and after {BUDGET_S:.0f} s what is there is shown.",
    )
    seed = three.number_input(
        "Seed", 0, 2**31 - 1, 0, key="fidelity_seed", help="Of what is drawn, and of the traffic."
    )
    choice = Choice(
        None if chosen in (_DEFAULT[kind], _OWN, _FIT) else chosen, most=int(most), seed=int(seed)
    )
    if fitting:
        choice = Choice(fit=_fit(kind), most=int(most), seed=int(seed))
    selection = Selection() if kind != "measured" else _columns()
    if chosen == _OWN:
        upload = st.file_uploader(
            "Profile (JSON that simlora calibrate wrote)",
            ["json"],
            key="fidelity_profile",
            max_upload_size=4,
        )
        if upload is None:
            return None
        name = f"profile-{safe_name(upload.name)}"
        files = {**files, name: upload.getvalue()}
        choice = Choice(name, own=True, most=int(most), seed=int(seed))
    names = tuple(name for name in files if name != choice.profile)
    digest = hashlib.blake2b(b"".join(files[name] for name in sorted(files))).hexdigest()
    asked = _Asked(digest, names, selection, choice)
    if st.button(_BUTTON, type="primary", icon=":material/play_arrow:"):
        jobs.forget(KIND)
        jobs.begin(
            KIND,
            "Predicting",
            "judge_upload",
            names,
            selection,
            choice,
            of=asked,
            files=files,
        )
    return asked


def _fit(kind: Kind) -> FitRequest:
    """What is fitted, and to how much of the measurements."""
    one, two, three, four = st.columns(4, gap="medium")
    holdout = one.slider(
        "Leave out (%)",
        10,
        70,
        30,
        10,
        key="fidelity_holdout",
        help="Share of the different configurations that the fit does not see; they are judged.",
    )
    models = list(dict.fromkeys(MODELS.values())) if kind == "published" else model_names()
    model = two.selectbox(
        "Model",
        models,
        index=models.index("llama-3.1-8b"),
        key=f"fidelity_model_{kind}",
        help="Base model of what was measured. Runs of one's own say it by their scenario.",
    )
    gpu, preset = GPU, "vllm-0.8.5"
    if kind == "measured":
        gpus, presets = gpu_names(), list(PRESETS)
        gpu = three.selectbox(
            "GPU",
            gpus,
            index=gpus.index("h100-80gb"),
            key="fidelity_gpu",
            help="What was measured. Runs of one's own say it by their scenario.",
        )
        preset = four.selectbox(
            "Engine preset",
            presets,
            index=presets.index(preset),
            key="fidelity_preset",
            help="The preset that behaves like the server. Runs of one's own say it by their "
            "scenario.",
        )
    known = [name for name in profile_names() if load_profile(name).model == model]
    bases = [_FITTED_BASE, *known]
    base = (three if kind == "published" else st).selectbox(
        "A step without adapters is",
        bases,
        index=len(bases) - 1 if kind == "published" else 0,
        key=f"fidelity_base_{kind}_{model}",
        help="Whole runs hardly tell its figures from those of adapters: take them from a profile "
        "of the same model, or measure steps without adapters.",
    )
    return FitRequest(
        gpu, model, preset, holdout / 100, None if base == _FITTED_BASE else str(base)
    )


def _columns() -> Selection:
    """What the columns are called in these files."""
    with st.expander("The columns are called otherwise, or only some rows are meant"):
        names = st.text_input(
            "Columns",
            key="fidelity_columns",
            placeholder="step_ms=step_period_median_ms, slots=max_loras_slots",
            help="COLUMN=THEIRS, several with commas: what a column of docs/measurements.md is "
            "called in the files.",
        )
        where = st.text_input(
            "Only rows with",
            key="fidelity_where",
            placeholder="base_model=llama-3.1-8b-instruct",
            help="THEIRS=VALUE, several with commas.",
        )
    return Selection(_pairs("Columns", names), _pairs("Only rows with", where))


def _pairs(label: str, text: Any) -> dict[str, str]:
    """NAME=VALUE pairs of a field. Raises UserError."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in str(text or "").split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value:
            raise UserError(f"{label}: takes NAME=VALUE, several with commas, not {part!r}")
        if name in pairs:
            raise UserError(f"{label}: {name} is given twice")
        pairs[name] = value
    return pairs
