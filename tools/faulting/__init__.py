"""Parts of ``python -m vo.tools.faults``: sound inputs, ways to damage them, and a verdict."""
