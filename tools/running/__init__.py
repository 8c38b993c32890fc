"""What ``vo-run`` is made of: flags, the folder of a run, numbers and pictures; and reading it."""
