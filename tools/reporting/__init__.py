"""The page that shows a run, or several, in a browser."""
