"""Reports of finished runs: one document of plain data, shown as a page, as JSON, or as a table of trades."""
