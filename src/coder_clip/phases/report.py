"""Phase report, the page: report.html and metrics.json."""
