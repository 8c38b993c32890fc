"""The Rerun view of a run: what is shown, where, and the thread that draws it."""
