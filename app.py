"""The what-if dashboard: `streamlit run app.py`."""

from pathlib import Path

from simlora.dashboard.frame import main

main(Path(__file__).parent)
