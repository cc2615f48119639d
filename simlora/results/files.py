"""Names of the files in a result directory."""

SUMMARY = "summary.json"
REQUESTS = "requests.parquet"
TENANTS = "tenants.parquet"
TIMELINE = "timeline.parquet"
RESOLVED_SCENARIO = "scenario.resolved.yaml"
REPORT = "report.html"
DECISIONS = "decisions.jsonl"  # of a run that keeps a log of them
STEPS = "steps.parquet"  # of a live run
RUN_TABLE = "runs.csv"  # of a live run on somebody's server

# Whatever a run may write: those that it does not are none of its result.
ALL = (
    SUMMARY,
    REQUESTS,
    TENANTS,
    TIMELINE,
    RESOLVED_SCENARIO,
    REPORT,
    DECISIONS,
    STEPS,
    RUN_TABLE,
)
