"""The Streamlit dashboard: pages over the public API, and the processes that compute for them."""
