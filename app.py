"""The what-if dashboard: `streamlit run app.py`.

Streamlit imports this file once, for its server, and runs it anew at every step of a session.
"""

from pathlib import Path

from streamlit import App, runtime

if runtime.exists():
    from simlora.dashboard.frame import main

    main(Path(__file__).parent)
else:
    from simlora.dashboard.server import ready

    app = App(__file__, lifespan=ready)
