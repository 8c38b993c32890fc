"""What ``vo-train`` is made of besides the loop: logs, cards, lists, leakage, metric depth."""
