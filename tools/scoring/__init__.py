"""Scores of depth and of scale for ``vo-eval``: tables, files, pictures, published rows."""
