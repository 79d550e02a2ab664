"""The report's figures: tables in, PNG and SVG out."""
