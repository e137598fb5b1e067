"""The report: results, notebooks and docs as a static site."""
