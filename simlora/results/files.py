"""Names of the files in a result directory."""

SUMMARY = "summary.json"
REQUESTS = "requests.parquet"
TENANTS = "tenants.parquet"
TIMELINE = "timeline.parquet"
RESOLVED_SCENARIO = "scenario.resolved.yaml"
REPORT = "report.html"
