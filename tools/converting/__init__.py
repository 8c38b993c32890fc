"""What ``vo-convert`` does to checkpoints: look into them, prune them, record their graphs."""
