"""Maps of a finished run: fusion, comparison with the truth, files for other programs, pictures."""
