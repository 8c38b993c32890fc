"""What ``vo-train`` is made of: flags, folder, drives, samples, lists, leakage, logs, cards."""
